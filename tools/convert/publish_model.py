"""Make a checkpoint fit for others: no optimiser, a hash in its name, and what it is inside.

    python tools/convert/publish_model.py work_dirs/amflow_vitb_k400/epoch_30.pth \
        --out amflow_vitb_k400.pth --license CC-BY-4.0

writes amflow_vitb_k400-1a2b3c4d.pth. Of a run with a moving average these are the averaged
weights. The config's text is inside, with its paths. docs/checkpoints.md tells more.
"""

import argparse
from pathlib import Path

from amflow_mm.apis.publishing import check_output, strip_run_state, write_published
from amflow_mm.engine.checkpoint import read_checkpoint
from amflow_mm.engine.errors import one_line_errors
from amflow_mm.hashing import hash_file


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Make a checkpoint fit for others.")
    parser.add_argument("checkpoint", help="checkpoint of a training, or a merged one")
    parser.add_argument("--out", required=True, help="file to write; its hash is added to the name")
    parser.add_argument(
        "--safetensors", action="store_true", help="write safetensors whatever --out ends in"
    )
    parser.add_argument("--license", help="terms of the trained weights, such as CC-BY-4.0")
    return parser.parse_args()


def main() -> None:
    """Strip, write, print where."""
    args = parse_args()
    out = Path(args.out).with_suffix(".safetensors") if args.safetensors else args.out
    with one_line_errors():
        check_output(out)
        published = strip_run_state(read_checkpoint(args.checkpoint), license=args.license)
        path = write_published(published, out)
    size = path.stat().st_size / 1e6
    terms = "; ".join(f"{name}: {text}" for name, text in published["meta"]["license"].items())
    print(f"{path}\n{size:.1f} MB, sha256 {hash_file(path)}\nlicense of {terms}")


if __name__ == "__main__":
    main()
