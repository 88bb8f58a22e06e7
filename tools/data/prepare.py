r"""Make annotation lists and a manifest from the files that owners of data sets distribute.

    python tools/data/prepare.py kinetics400
    python tools/data/prepare.py ssv2 --videos /disk/20bn-something-something-v2
    python tools/data/prepare.py smarthome --videos /disk/smarthome/mp4
    python tools/data/prepare.py custom --videos data/custom/videos --group-regex 'person(\d+)'

docs/datasets has a page for each data set. Videos are neither moved nor changed: where they are
somewhere else, the folder that the configs read becomes a link. Run it again after more videos have
come; rows of the manifest are kept.
"""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from amflow_mm.datasets.preparation import (
    CHECKSUMS,
    ManifestOptions,
    SplitRule,
    make_shares,
    plan_custom,
    plan_diving48,
    plan_hmdb51,
    plan_kinetics400,
    plan_smarthome,
    plan_ssv2,
    plan_ucf101,
    write_dataset,
)
from amflow_mm.datasets.preparation.plan import Plan
from amflow_mm.engine.errors import UserError, one_line_errors

DEFAULT_VAL = 0.2


class Source(NamedTuple):
    """A data set as its owners distribute it.

    Attributes:
        plan: What makes the lists of videos and annotations.
        out: Folder of the data set.
        videos: Folder of the videos below it.
        annotations: What the annotations are, for the help.
    """

    plan: Callable[..., Plan]
    out: str
    videos: str
    annotations: str


SOURCES = {
    "kinetics400": Source(plan_kinetics400, "data/kinetics400", "", "train.csv, val.csv, test.csv"),
    "ssv2": Source(plan_ssv2, "data/sthv2", "videos", "labels.json, train.json, validation.json"),
    "ucf101": Source(plan_ucf101, "data/ucf101", "videos", "classInd.txt, trainlist01.txt …"),
    "hmdb51": Source(plan_hmdb51, "data/hmdb51", "videos", "brush_hair_test_split1.txt …"),
    "diving48": Source(plan_diving48, "data/diving48", "videos", "Diving48_V2_train.json …"),
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Make annotation lists and a manifest of a data set."
    )
    commands = parser.add_subparsers(dest="dataset", required=True, metavar="DATASET")
    for name, source in SOURCES.items():
        command = add_command(commands, name, source.out, source.videos)
        command.add_argument(
            "--annotations",
            metavar="DIR",
            help=f"folder of {source.annotations}; by default annotations below --out",
        )
    add_command(commands, "smarthome", "data/smarthome", "mp4")
    custom = add_command(commands, "custom", "data/custom", "videos")
    custom.add_argument(
        "--csv", metavar="FILE", help="table path,label[,group][,split]; else class folders count"
    )
    custom.add_argument("--classes", metavar="FILE", help="names of the classes in their order")
    custom.add_argument(
        "--val", type=float, help=f"fraction for validation; {DEFAULT_VAL} by default"
    )
    custom.add_argument("--test", type=float, help="fraction for test; 0 by default")
    custom.add_argument("--seed", type=int, help="of the split; 0 by default")
    custom.add_argument(
        "--group-regex",
        metavar="REGEX",
        help="what in a path names the group (a person, a place), which stays in one split",
    )
    return parser.parse_args()


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    out: str,
    videos: str,
) -> argparse.ArgumentParser:
    """Add a data set with the options that all have."""
    command = commands.add_parser(name, help=f"to {out}")
    below = f"{videos} below --out" if videos else "--out"
    command.add_argument("--videos", metavar="DIR", help=f"folder of the videos; default: {below}")
    command.add_argument("--out", metavar="DIR", default=out, help=f"default: {out}")
    command.add_argument(
        "--checksum",
        choices=CHECKSUMS,
        default="quick",
        help="quick (default): of beginning, middle and end; sha256: of every byte",
    )
    command.add_argument("--no-manifest", action="store_true", help="do not look into the videos")
    command.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes; default: all cores"
    )
    command.add_argument(
        "--timeout", type=float, default=60.0, help="seconds for one video; default: 60"
    )
    command.set_defaults(videos_below=videos)
    return command


def make_plan(args: argparse.Namespace) -> Plan:
    """Read the owners' files."""
    videos = args.videos or Path(args.out, args.videos_below)
    if args.dataset == "smarthome":
        return plan_smarthome(videos)
    if args.dataset == "custom":
        return make_custom_plan(args, videos)
    annotations = args.annotations or Path(args.out, "annotations")
    return SOURCES[args.dataset].plan(videos, annotations)


def make_custom_plan(args: argparse.Namespace, videos: str | Path) -> Plan:
    """Read a table or class folders."""
    rule = SplitRule(
        shares=make_shares(DEFAULT_VAL if args.val is None else args.val, args.test or 0.0),
        seed=args.seed or 0,
        group_pattern=args.group_regex,
        is_asked_for=not (args.val is args.test is args.seed is None),
    )
    return plan_custom(videos, rule, table=args.csv, classes_file=args.classes)


def main() -> None:
    """Make the files and say how many videos there are."""
    args = parse_args()
    with one_line_errors():
        for name in ("workers", "timeout"):
            if not getattr(args, name) > 0:
                raise UserError(f"--{name} {getattr(args, name):g} must be greater than 0")
        options = ManifestOptions(args.checksum, args.workers, args.timeout)
        report = write_dataset(make_plan(args), args.out, None if args.no_manifest else options)
    print(report)


if __name__ == "__main__":
    main()
