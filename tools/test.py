"""Test a checkpoint: accuracies by class and over all, confusion matrix, result.json.

python tools/test.py configs/amflow_vits_motion.py work_dirs/amflow_vits_motion/epoch_18.pth
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # for `python -m amflow_mm.tools.test`
from command_line import add_config_arguments, add_run_arguments


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Test a checkpoint.")
    add_config_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    add_run_arguments(parser)
    parser.add_argument(
        "--dump",
        metavar="FILE",
        help="write the predictions: .pkl as MMAction2 does, or .json with path, label, "
        "prediction and scores of each clip",
    )
    return parser.parse_args()


def main() -> None:
    """Test, print the report, draw the confusion matrix."""
    args = parse_args()
    # Not before the command line is read: they take seconds.
    from amflow_mm.engine.errors import one_line_errors
    from amflow_mm.engine.evaluate import check_evaluation, evaluate_checkpoint
    from amflow_mm.engine.launch import check_before_building, load_config, set_run
    from amflow_mm.visualization.confusion_matrix import draw_confusion_matrix

    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        set_run(cfg, work_dir=args.work_dir, launcher=args.launcher, local_rank=args.local_rank)
        check_evaluation(cfg, args.checkpoint, args.dump)
        check_before_building(cfg, ["test_dataloader"])
        if args.dry_run:
            print(f"{args.config}: config, data and files are in order")
            return
        result = evaluate_checkpoint(cfg, args.checkpoint, dump=args.dump)
    if result is None:  # not the main process
        return
    picture = result.path.with_name("confusion_matrix.png")
    report = result.report
    draw_confusion_matrix(
        report.confusion, report.class_names, picture, title=f"top-1 {report.top1:.1%}"
    )
    print(report)
    print(f"result:           {result.path}\nconfusion matrix: {picture}")


if __name__ == "__main__":
    main()
