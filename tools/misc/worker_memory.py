"""Take 10,000 clips from each data worker and tell whether its memory grows.

    python tools/misc/worker_memory.py --backend pyav
    python tools/misc/worker_memory.py --list train.txt --root videos --pipeline cache-jpeg

Small videos are generated unless a list is given. Exit status 1 if the own memory of workers
certainly grows by more than --limit KiB for each 1000 clips of a worker.
"""

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from mmengine.registry import init_default_scope

from amflow_mm.apis.pipeline_benchmark import (
    Choice,
    VideoSet,
    VideoShape,
    generate_videos,
    read_video_list,
)
from amflow_mm.apis.pipeline_benchmark.report import format_text
from amflow_mm.apis.pipeline_benchmark.subject import Subject
from amflow_mm.apis.pipeline_benchmark.subjects import make_subjects
from amflow_mm.apis.pipeline_benchmark.worker_memory import (
    Growth,
    MemorySample,
    draw_memory,
    measure_growth,
    watch_workers,
)
from amflow_mm.engine.errors import UserError, one_line_errors
from amflow_mm.engine.reproducibility import collect_versions, describe_machine, write_json

SMALL_VIDEO = VideoShape(gop_size=12, seconds=1.0, height=96, width=128)
TABLE_ROWS = 10
PIPELINES = {
    "ours": "ours, {backend}",
    "mmaction2": "MMAction2, {backend}",
    "cache-raw": "ours, clip cache, raw",
    "cache-jpeg": "ours, clip cache, jpeg",
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Watch the memory of data workers.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--pipeline", choices=PIPELINES, default="ours")
    parser.add_argument("--backend", default="auto", help="that decodes")
    parser.add_argument("--list", metavar="FILE", help="annotation list; generated videos if none")
    parser.add_argument("--root", default="", help="folder that the paths of --list start from")
    parser.add_argument("--videos", type=int, default=64, help="videos that are read in turn")
    parser.add_argument("--clips", type=int, default=10_000, help="of each worker")
    parser.add_argument("--warm-up", type=int, default=2_000, help="clips that do not count")
    parser.add_argument("--every", type=int, default=16, help="clips between two looks")
    parser.add_argument("--window", type=int, default=500, help="clips, of which the lowest counts")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--limit", type=float, default=1024.0, help="KiB for each 1000 clips")
    parser.add_argument("--work-dir", default="work_dirs/worker_memory")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw all samples")
    args = parser.parse_args()
    for name in ("videos", "workers", "batch_size", "every", "window"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if args.clips <= args.every:
        parser.error("--clips must exceed --every, to look at least once")
    return args


def choose_subject(args: argparse.Namespace) -> Subject:
    """Return the pipeline and the videos that the command line asks for."""
    if args.list:
        videos = read_video_list(args.list, root=args.root, count=args.videos)
    else:
        folder = Path(args.work_dir, "videos")
        paths = generate_videos(folder, SMALL_VIDEO, count=args.videos)
        videos = VideoSet("small", tuple(paths))
    prepared = (args.pipeline,) if args.pipeline.startswith("cache-") else ()
    try:
        choice = Choice((args.backend,), prepared)
    except ValueError as error:
        raise UserError(str(error)) from error
    subjects = make_subjects(videos, Path(args.work_dir), choice)
    name = PIPELINES[args.pipeline].format(backend=args.backend)
    for subject in subjects:
        if subject.name == name:
            return subject
    raise UserError(f"--pipeline {args.pipeline} cannot decode with --backend {args.backend}")


def format_samples(samples: list[MemorySample]) -> str:
    """Lay out a selection of the samples, a row for each moment."""
    moments = sorted({sample.clips for sample in samples})
    step = -(-len(moments) // TABLE_ROWS)
    workers = sorted({sample.worker for sample in samples})
    own = {(sample.clips, sample.worker): sample.own for sample in samples}
    rows = [["clips", *(f"worker {worker}, MiB" for worker in workers)]]
    for clips in moments[::step]:
        rows.append([str(clips), *(f"{own[clips, worker] / 1024:.1f}" for worker in workers)])
    return format_text(rows)


def report(
    args: argparse.Namespace, name: str, samples: list[MemorySample], growth: Growth
) -> None:
    """Print, write and draw what was measured."""
    print(format_samples(samples))
    print(
        f"{name}: {growth.slope:+.1f} ± {growth.margin:.1f} KiB for each 1000 clips of a worker "
        f"after {args.warm_up} clips (95 % confidence, {growth.num_samples} looks)"
    )
    title = f"{name}: {growth.slope:+.1f} ± {growth.margin:.1f} KiB / 1000 clips"
    if args.json:
        record = {
            "subject": name,
            "growth": asdict(growth),
            "options": {key: str(value) for key, value in vars(args).items()},
            "machine": describe_machine(),
            "versions": collect_versions(),
            "samples": [asdict(sample) for sample in samples],
        }
        write_json(args.json, record)
    if args.plot:
        args.plot.parent.mkdir(parents=True, exist_ok=True)
        draw_memory(samples, args.plot, warm_up=args.warm_up, title=title)


def main() -> None:
    """Watch, report, and fail if the memory grows."""
    args = parse_args()
    init_default_scope("amflow_mm")
    with one_line_errors():
        subject = choose_subject(args)
        samples = watch_workers(
            subject,
            num_clips=args.clips,
            num_workers=args.workers,
            batch_size=args.batch_size,
            every=args.every,
        )
        growth = measure_growth(samples, warm_up=args.warm_up, window=args.window)
        report(args, subject.name, samples, growth)
    if growth.slope - growth.margin > args.limit:
        print(f"memory certainly grows by more than --limit {args.limit:g}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
