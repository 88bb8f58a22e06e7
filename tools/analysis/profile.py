"""Profile training steps of a config: a Chrome trace, and where the time goes.

    python tools/analysis/profile.py configs/amflow_vitb_k400.py --batch-size 1
    python tools/analysis/profile.py configs/amflow_vits_motion.py --data config --steps 10
    python tools/analysis/profile.py configs/aim_vitb_k400.py --name profile_aim \
        --document docs/performance.md

Clips are random unless --data config is given, and image weights are never read: time depends on
neither. The trace opens in chrome://tracing and ui.perfetto.dev.
"""

import argparse
import importlib.util
import sys
import sysconfig
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # of command_line.py
from command_line import add_config_arguments

STANDARD = "profile"
"""Module of Python's own that has the name of this file."""


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Tell where the time of a training step goes.")
    add_config_arguments(parser)
    parser.add_argument("--steps", type=int, default=3, help="that are recorded")
    parser.add_argument("--warm-up", type=int, default=1, help="steps before them")
    parser.add_argument("--batch-size", type=int, help="clips of a step; the config's by default")
    parser.add_argument(
        "--shape",
        type=int,
        nargs=3,
        metavar=("T", "H", "W"),
        help="of random clips; frames, height and width of the test pipeline by default",
    )
    parser.add_argument("--data", choices=("random", "config"), default="random")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="work_dirs/profile by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the record")
    parser.add_argument("--name", help="of the record in the docs; profile_CONFIG by default")
    parser.add_argument("--document", type=Path, metavar="FILE", help="rewrite its tables")
    parser.add_argument("--preliminary", action="store_true", help="mark the record as such")
    return parser.parse_args()


def main() -> None:
    """Profile, print and record."""
    args = parse_args()
    # Not before the command line is read: they take seconds.
    from amflow_mm.apis.model_benchmark.document import record_path, updated_page
    from amflow_mm.apis.profiling import ProfileOptions, print_profile, profile_training
    from amflow_mm.engine.config_check import check_config
    from amflow_mm.engine.errors import UserError, one_line_errors
    from amflow_mm.engine.launch import load_config
    from amflow_mm.engine.reproducibility import write_json

    config = Path(args.config).stem
    trace = args.trace or Path("work_dirs", "profile", f"{config}.json.gz")
    if args.document and not args.json:
        args.json = record_path(args.document, args.name or f"profile_{config}")
    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        check_config(cfg)
        try:
            options = ProfileOptions(
                steps=args.steps,
                warm_up=args.warm_up,
                batch_size=args.batch_size,
                shape=args.shape and tuple(args.shape),
                data=args.data,
            )
        except ValueError as error:
            raise UserError(str(error)) from error
        record = profile_training(cfg, options, trace, is_preliminary=args.preliminary)
        if args.json:
            write_json(args.json, record)
        if args.document:
            args.document.write_text(updated_page(args.document), encoding="utf-8")
    print(f"{print_profile(record)}\n\ntrace: {trace}")


def stand_aside() -> None:
    """Hand out the standard library's module in place of this one.

    The folder of a tool comes first on Python's path, so that ``cProfile``, which torch imports,
    would find this file in every tool beside it.
    """
    path = Path(sysconfig.get_path("stdlib"), f"{STANDARD}.py")
    spec = importlib.util.spec_from_file_location(STANDARD, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[STANDARD] = module
    spec.loader.exec_module(module)


if __name__ == STANDARD:
    stand_aside()
elif __name__ == "__main__":
    main()
