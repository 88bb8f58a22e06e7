"""Train a model.

python tools/train.py configs/amflow_vits_motion.py --work-dir work_dirs/motion
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # for `python -m amflow_mm.tools.train`
from command_line import add_config_arguments, add_run_arguments


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train a model.")
    add_config_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from a checkpoint; without a path, from the newest of the work folder",
    )
    parser.add_argument("--amp", action="store_true", help="train in mixed precision")
    parser.add_argument("--no-validate", action="store_true", help="do not validate while training")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate by batch size over auto_scale_lr.base_batch_size",
    )
    parser.add_argument("--seed", type=int, help="seed of the run; the config's by default")
    parser.add_argument(
        "--deterministic", action="store_true", help="use deterministic algorithms only"
    )
    return parser.parse_args()


def main() -> None:
    """Check everything, then train."""
    args = parse_args()
    # Not before the command line is read: they take seconds.
    from amflow_mm.engine.errors import one_line_errors
    from amflow_mm.engine.launch import (
        TrainOptions,
        build_runner,
        check_before_building,
        load_config,
        set_run,
        set_train_options,
    )

    options = TrainOptions(
        resume=args.resume,
        amp=args.amp,
        validate=not args.no_validate,
        auto_scale_lr=args.auto_scale_lr,
        seed=args.seed,
        deterministic=args.deterministic,
    )
    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        set_run(cfg, work_dir=args.work_dir, launcher=args.launcher, local_rank=args.local_rank)
        set_train_options(cfg, options)
        check_before_building(cfg, ["train_dataloader", "val_dataloader"])
        if args.dry_run:
            print(f"{args.config}: config, data and files are in order")
            return
        build_runner(cfg).train()


if __name__ == "__main__":
    main()
