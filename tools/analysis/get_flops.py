"""Count parameters, GMACs and GFLOPs of a config's model, part by part.

    python tools/analysis/get_flops.py configs/amflow_vitb_k400.py
    python tools/analysis/get_flops.py configs/amflow_vitb_k400.py --shape 16 336 336 --json

Nothing is read but the config: neither data nor weights files need to be there. How things are
counted stands in amflow_mm/apis/complexity.py.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # of command_line.py
from command_line import add_config_arguments

from amflow_mm.apis.complexity import (
    ClipShape,
    Complexity,
    Views,
    build_on_meta,
    measure_complexity,
    read_views,
)
from amflow_mm.engine.config_check import check_config
from amflow_mm.engine.errors import UserError, one_line_errors
from amflow_mm.engine.launch import load_config


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Count parameters and GMACs of a model.")
    add_config_arguments(parser)
    parser.add_argument(
        "--shape",
        type=int,
        nargs=3,
        metavar=("T", "H", "W"),
        help="frames of a clip, height and width in pixels; those of the test pipeline by default",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args()


def choose_shape(asked: list[int] | None, views: Views | None) -> ClipShape:
    """Return the shape asked for, else the test pipeline's.

    Raises:
        UserError: Neither is known, or it is impossible.
    """
    if asked is None:
        if views is None or views.shape is None:
            raise UserError(
                "the config's test pipeline does not fix the size of its frames: give "
                "--shape T HEIGHT WIDTH"
            )
        return views.shape
    if min(asked) < 1:
        raise UserError(f"--shape {' '.join(map(str, asked))} must be positive")
    return ClipShape(*asked)


def to_json(config: str, complexity: Complexity, num_views: int | None) -> str:
    """Return all figures as JSON; GMACs and GFLOPs per view, and per video where known."""
    total, parts = complexity.total, complexity.parts
    gmacs = {"total": total.macs / 1e9} | {name: p.macs / 1e9 for name, p in parts.items()}
    content = {
        "config": config,
        "shape": complexity.shape._asdict(),
        "parameters": {"total": total.parameters, "trainable": total.trainable}
        | {name: part.parameters for name, part in parts.items()},
        "gmacs_per_view": gmacs,
        "gflops_per_view": {name: 2 * value for name, value in gmacs.items()},
        "views_per_video": num_views,
        "gmacs_per_video": num_views and num_views * gmacs["total"],
        "gflops_per_video": num_views and 2 * num_views * gmacs["total"],
    }
    return json.dumps(content, indent=2)


def main() -> None:
    """Count and print."""
    args = parse_args()
    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        check_config(cfg)
        views = read_views(cfg)
        shape = choose_shape(args.shape, views)
        try:
            complexity = measure_complexity(build_on_meta(cfg), shape)
        except ValueError as error:  # sizes that the model refuses, in its own words
            raise UserError(f"{args.config}: {error}") from error
    num_views = views and views.num_views
    if args.json:
        print(to_json(args.config, complexity, num_views))
        return
    print(f"{args.config}\n{complexity}")
    if num_views is not None:
        gmacs = num_views * complexity.total.macs / 1e9
        print(f"one video, views: {num_views}, GMACs: {gmacs:.1f}, GFLOPs: {2 * gmacs:.1f}")


if __name__ == "__main__":
    main()
