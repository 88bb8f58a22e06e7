"""Measure clips a second: MMAction2's own pipeline beside ours, stage by stage, in one run.

    python tools/analysis/bench_pipeline.py                                  # generated videos
    python tools/analysis/bench_pipeline.py --list train.txt --root videos   # your own
    python tools/analysis/bench_pipeline.py --document docs/data_speed.md    # record in the docs
    python tools/analysis/bench_pipeline.py --document docs/data_speed.md --check

Subjects take turns, so that a busy machine disturbs all alike; leave it alone nevertheless.
Videos are generated, re-encoded and cached under --work-dir, which a later run takes over.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from mmengine.registry import init_default_scope

from amflow_mm.apis.pipeline_benchmark import (
    PREPARATIONS,
    BenchmarkOptions,
    Choice,
    VideoSet,
    VideoShape,
    benchmark_pipelines,
    draw_chart,
    generate_videos,
    print_run,
    read_video_list,
    working_backends,
)
from amflow_mm.apis.pipeline_benchmark.document import updated_page
from amflow_mm.engine.errors import UserError, one_line_errors
from amflow_mm.engine.reproducibility import write_json

ROOT = Path(__file__).resolve().parents[2]
RESULT = ROOT / "docs" / "results" / "data_speed" / "generated.json"
CHART = ROOT / "docs" / "images" / "data_speed.png"


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure clips a second of data pipelines.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    source = parser.add_argument_group("videos")
    source.add_argument("--list", metavar="FILE", help="annotation list; generated videos if none")
    source.add_argument("--root", default="", help="folder that the paths of --list start from")
    source.add_argument("--videos", type=int, default=16, help="videos of each set")
    source.add_argument("--gops", type=int, nargs="+", default=[12, 250], help="generated GOPs")
    source.add_argument("--video-seconds", type=float, default=10.0, help="of generated videos")
    subjects = parser.add_argument_group("pipelines")
    subjects.add_argument(
        "--backends",
        nargs="+",
        default=["auto"],
        help="of decoding; 'all' for those that work here",
    )
    subjects.add_argument("--prepared", nargs="*", default=PREPARATIONS, choices=PREPARATIONS)
    subjects.add_argument("--sampling", choices=("uniform", "dense"), default="uniform")
    how = parser.add_argument_group("measuring")
    how.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="of the DataLoader")
    how.add_argument("--batch-size", type=int, default=8)
    how.add_argument("--repetitions", type=int, default=5)
    how.add_argument("--seconds", type=float, default=2.0, help="of one measurement, at least")
    how.add_argument("--cold", action="store_true", help="also with files dropped from memory")
    how.add_argument("--seed", type=int, default=0)
    output = parser.add_argument_group("results")
    output.add_argument("--work-dir", default="work_dirs/bench_pipeline")
    output.add_argument("--json", type=Path, metavar="FILE", help="write the record")
    output.add_argument("--chart", type=Path, metavar="FILE", help="draw the record")
    output.add_argument("--document", type=Path, metavar="FILE", help="rewrite its tables")
    output.add_argument("--from", dest="recorded", type=Path, metavar="FILE", help="do not measure")
    output.add_argument("--check", action="store_true", help="fail if --document is outdated")
    args = parser.parse_args()
    if args.document:
        args.json, args.chart = args.json or RESULT, args.chart or CHART
    if args.check and not args.document:
        parser.error("--check needs --document")
    return args


def choose_videos(args: argparse.Namespace) -> list[VideoSet]:
    """Return the user's videos, or generated ones."""
    if args.videos < 1:
        raise UserError(f"--videos {args.videos} must be at least 1")
    if args.list:
        return [read_video_list(args.list, root=args.root, count=args.videos, seed=args.seed)]
    folder = Path(args.work_dir, "videos")
    sets = []
    for gop_size in args.gops:
        shape = VideoShape(gop_size=gop_size, seconds=args.video_seconds)
        paths = generate_videos(folder, shape, count=args.videos)
        sets.append(VideoSet(f"GOP {gop_size}", tuple(paths)))
    return sets


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure what the command line asks for and return the record."""
    modes = ("process", "cold") if args.cold else ("process",)
    try:
        sets = choose_videos(args)
        first = sets[0].paths[0]
        backends = working_backends(first) if args.backends == ["all"] else tuple(args.backends)
        choice = Choice(backends, tuple(args.prepared), args.sampling)
        options = BenchmarkOptions(
            repetitions=args.repetitions,
            seconds=args.seconds,
            num_workers=args.workers,
            batch_size=args.batch_size,
            modes=(*modes, "loader", "transport"),
            seed=args.seed,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    return benchmark_pipelines(sets, args.work_dir, choice, options)


def main() -> None:
    """Measure or read a record, and print, write and draw it."""
    args = parse_args()
    init_default_scope("amflow_mm")
    with one_line_errors():
        if args.check or args.recorded:
            run = json.loads((args.recorded or args.json).read_text(encoding="utf-8"))
        else:
            run = measure(args)
        if args.check:
            if updated_page(args.document, run, args.json) != args.document.read_text("utf-8"):
                sys.exit(f"{args.document} is outdated; run this without --check, with --from")
            return
        if args.json:
            write_json(args.json, run)
        if args.chart:
            args.chart.parent.mkdir(parents=True, exist_ok=True)
            draw_chart(run, args.chart)
        if args.document:
            args.document.write_text(updated_page(args.document, run, args.json), "utf-8")
    print(print_run(run))


if __name__ == "__main__":
    main()
