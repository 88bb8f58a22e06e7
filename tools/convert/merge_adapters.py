"""Make one self-contained file of a checkpoint and the frozen image model beside it.

    python tools/convert/merge_adapters.py configs/amflow_vitb_k400.py \
        work_dirs/amflow_vitb_k400/epoch_30.pth --out amflow_vitb_k400_merged.pth

The image model comes from the config's `pretrained`, and must be the one that the checkpoint was
trained beside. The merged file loads without it: with `model.backbone.pretrained=None` too.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # of command_line.py
from command_line import add_config_arguments

from amflow_mm.apis.publishing import check_output, merge_adapters, strip_run_state
from amflow_mm.engine.checkpoint_io import write_checkpoint
from amflow_mm.engine.config_check import check_config
from amflow_mm.engine.errors import one_line_errors
from amflow_mm.engine.launch import load_config


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Merge adapters and frozen image model.")
    add_config_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint that was trained with the config")
    parser.add_argument("--out", required=True, help="file to write: .pth, .pt or .safetensors")
    parser.add_argument("--license", help="terms of the trained weights, such as CC-BY-4.0")
    return parser.parse_args()


def main() -> None:
    """Merge, write, print where."""
    args = parse_args()
    with one_line_errors():
        out = check_output(args.out)
        cfg = load_config(args.config, args.cfg_options)
        check_config(cfg)
        merged = merge_adapters(cfg, args.checkpoint)
        write_checkpoint(strip_run_state(merged, license=args.license), out)
    print(f"{out}\n{out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
