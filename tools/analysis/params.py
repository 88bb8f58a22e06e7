"""Tell what a config's model takes: parameters, memory in training, sizes of checkpoints.

    python tools/analysis/params.py configs/amflow_vitb_k400.py
    python tools/analysis/params.py configs/amflow_vitb_k400.py --json params.json

Nothing is read but the config: neither data nor weights files need to be there. What is counted
stands in amflow_mm/engine/parameter_sizes.py.
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # of command_line.py
from command_line import add_config_arguments

from amflow_mm.apis.parameters import measure_config, to_record
from amflow_mm.engine.config_check import check_config
from amflow_mm.engine.errors import UserError, one_line_errors
from amflow_mm.engine.launch import load_config
from amflow_mm.engine.reproducibility import write_json


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Tell what a model takes, module by module.")
    add_config_arguments(parser)
    parser.add_argument(
        "--depth", type=int, default=3, help="names that a module's path is cut to; 3 by default"
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures, in bytes")
    return parser.parse_args()


def main() -> None:
    """Measure, print, write."""
    args = parse_args()
    with one_line_errors():
        if args.depth < 1:
            raise UserError(f"--depth {args.depth} must be at least 1")
        cfg = load_config(args.config, args.cfg_options)
        check_config(cfg)
        try:
            sizes = measure_config(cfg, depth=args.depth)
        except ValueError as error:  # what the model refuses, in its own words
            raise UserError(f"{args.config}: {error}") from error
        if args.json:
            write_json(args.json, to_record(args.config, sizes))
    print(f"{args.config}\n{sizes}\n{sizes.short()}")


if __name__ == "__main__":
    main()
