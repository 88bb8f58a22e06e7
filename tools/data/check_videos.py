"""Decode videos from end to end and report which of them would spoil a training run.

    python tools/data/check_videos.py data/custom/train.txt --root data/custom/videos
    python tools/data/check_videos.py data/custom/videos --sample 500
    python tools/data/check_videos.py --config configs/amflow_vits_custom.py --clean-list clean/

A run that was cut off goes on where it was when it is started again. Exit status: 0 if all videos
can be used, 1 if some cannot (with --strict also if anything else is reported), 2 if the command
line or a list is wrong.
"""

import argparse
import os
import sys
from pathlib import Path

from amflow_mm.datasets.video_files.examine import KINDS, UNUSABLE_KINDS
from amflow_mm.datasets.video_files.listing import VideoList, read_lists_of_config, read_source
from amflow_mm.datasets.video_files.survey import survey_videos, write_clean_lists
from amflow_mm.datasets.video_files.survey_report import format_survey, write_reports
from amflow_mm.engine.errors import one_line_errors
from amflow_mm.engine.launch import load_config


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Find videos that cannot be trained on.")
    parser.add_argument(
        "source", nargs="?", help="annotation list with lines 'path label', or a folder"
    )
    parser.add_argument("--config", help="check the lists of this config's loaders instead")
    parser.add_argument("--root", help="folder of the list's paths (default: the list's own)")
    parser.add_argument(
        "--delimiter", help="what separates path and label in a line of the list (default: blanks)"
    )
    parser.add_argument(
        "--multi-class", action="store_true",
        help="lines may have several labels; the first delimiter ends the path, not the last",
    )  # fmt: skip
    parser.add_argument(
        "--sample", type=parse_sample, metavar="N",
        help="look at N videos chosen at random, or at a part of all, such as 0.1",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the choice (default: 0)")
    parser.add_argument(
        "--unusable", nargs="+", choices=KINDS, default=UNUSABLE_KINDS, metavar="KIND",
        help=f"kinds that make a video unusable, of {', '.join(KINDS)} (default: the first "
        f"{len(UNUSABLE_KINDS)})",
    )  # fmt: skip
    parser.add_argument(
        "--clean-list", metavar="OUT",
        help="write the list without unusable videos; a folder if a config has several lists",
    )  # fmt: skip
    parser.add_argument(
        "--out-dir", type=Path, default=Path("work_dirs/check_videos"),
        help="folder of report.csv, report.json and the journal (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--processes", type=parse_positive, default=os.cpu_count() or 1,
        help="videos decoded side by side (default: %(default)s, the processors)",
    )  # fmt: skip
    parser.add_argument(
        "--timeout", type=float, default=300.0, metavar="SECONDS",
        help="longest that one video may take (default: %(default)s); for films give more",
    )  # fmt: skip
    parser.add_argument("--restart", action="store_true", help="forget what earlier runs found")
    parser.add_argument(
        "--strict", action="store_true", help="exit status 1 for anything that is reported"
    )
    args = parser.parse_args()
    if (args.source is None) == (args.config is None):
        parser.error("give either a list or folder, or --config")
    if not args.timeout > 0:
        parser.error(f"--timeout {args.timeout} must be > 0")
    return args


def parse_sample(text: str) -> float:
    """Read a number of videos as an int, or a part of all as a float."""
    try:
        value = float(text) if "." in text else int(text)
    except ValueError:
        value = 0
    if not value > 0 or (isinstance(value, float) and value > 1):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of videos nor a part of 1")
    return value


def parse_positive(text: str) -> int:
    """Read a number that must be at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number >= 1")
    return int(text)


def read_lists(args: argparse.Namespace) -> list[VideoList]:
    """Return the videos that the command line asks for."""
    if args.config is not None:
        return read_lists_of_config(load_config(args.config))
    videos = read_source(
        args.source,
        root=args.root,
        delimiter=args.delimiter,
        has_many_labels=args.multi_class,
    )
    return [videos]


def main() -> None:
    """Examine, report, and tell by the exit status whether all is well."""
    args = parse_args()
    with one_line_errors():
        survey = survey_videos(
            read_lists(args),
            args.out_dir,
            num_processes=args.processes,
            timeout=args.timeout,
            sample=args.sample,
            seed=args.seed,
            restart=args.restart,
            unusable_kinds=args.unusable,
        )
    table, _ = write_reports(survey, args.out_dir)
    print(format_survey(survey))
    print(f"report: {table}")
    if args.clean_list:
        for path in write_clean_lists(survey, args.clean_list):
            print(f"clean list: {path}")
    is_reported = survey.count_kinds() if args.strict else survey.unusable()
    sys.exit(1 if is_reported else 0)


if __name__ == "__main__":
    main()
