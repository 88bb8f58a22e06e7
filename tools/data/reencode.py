r"""Re-encode videos so that scattered frames of them are cheap to read.

    python tools/data/reencode.py data/custom/videos data/custom/videos_256
    python tools/data/reencode.py data/custom/train.txt data/custom/videos_256 \
        --root data/custom/videos

Short side 256, a key frame every 12 frames, H.264 without B-frames, no sound, rotation applied;
frames and their times stay. Relative paths stay too, with the suffix .mp4. A list is written anew
into the folder of results. A run that was cut off goes on when it is started again. Exit status: 0
if all videos were re-encoded, 1 if some failed, 2 if the command line or a list is wrong.
"""

import argparse
import os
import sys
from pathlib import Path

from amflow_mm.datasets.video_files.encode_options import EncodeOptions
from amflow_mm.datasets.video_files.listing import VideoList, read_source
from amflow_mm.datasets.video_files.reencode import (
    FAILURES_NAME,
    Reencoding,
    plan_jobs,
    reencode_videos,
    write_new_list,
)
from amflow_mm.engine.errors import UserError, one_line_errors

PRESETS = (
    *("ultrafast", "superfast", "veryfast", "faster", "fast", "medium"),
    *("slow", "slower", "veryslow"),
)
MAX_SHOWN = 20


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    default = EncodeOptions()
    parser = argparse.ArgumentParser(
        description="Re-encode videos for fast random access.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("source", help="annotation list with lines 'path label', or a folder")
    parser.add_argument("out", type=Path, help="folder of the results")
    parser.add_argument("--root", help="folder of the list's paths; the list's own if not given")
    parser.add_argument(
        "--delimiter", help="what separates path and label in a line; blanks if not given"
    )
    parser.add_argument(
        "--multi-class", action="store_true",
        help="lines may have several labels; the first delimiter ends the path, not the last",
    )  # fmt: skip
    parser.add_argument("--new-list", help="where a list is written anew; in OUT if not given")
    parser.add_argument(
        "--short-side", type=int, default=default.short_side, help="pixels; 256 or 320 as a rule"
    )
    parser.add_argument(
        "--gop", type=int, default=default.gop_size, help="frames between key frames; 8 to 16"
    )
    parser.add_argument(
        "--crf", type=int, default=default.crf, help="quality, 0 to 51; less is better and larger"
    )
    parser.add_argument(
        "--preset", choices=PRESETS, default=default.preset, help="time spent on quality"
    )
    parser.add_argument(
        "--pixels", choices=("square", "stored"), default=default.pixels,
        help="make oblong pixels square, or leave the frame's width and height in their proportion",
    )  # fmt: skip
    parser.add_argument("--upscale", action="store_true", help="make smaller videos larger")
    parser.add_argument(
        "--keep-damaged", action="store_true", help="of damaged videos write what decodes"
    )
    parser.add_argument(
        "--min-psnr", type=float, default=default.min_psnr,
        help="decibels that results must reach against their sources",
    )  # fmt: skip
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files that this tool has not written"
    )
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count() or 1, help="videos encoded side by side"
    )
    parser.add_argument(
        "--timeout", type=float, default=3600.0, help="seconds that one video may take"
    )
    parser.add_argument(
        "--min-free-gb", type=float, default=1.0, help="stop before less room is left on the disk"
    )
    return parser.parse_args()


def read_options(args: argparse.Namespace) -> EncodeOptions:
    """Return how to encode.

    Raises:
        UserError: A number is out of its range.
    """
    if args.processes < 1 or not args.timeout > 0:
        raise UserError("--processes must be at least 1, and --timeout above 0")
    try:
        return EncodeOptions(
            short_side=args.short_side,
            gop_size=args.gop,
            crf=args.crf,
            preset=args.preset,
            pixels=args.pixels,
            upscale=args.upscale,
            keep_damaged=args.keep_damaged,
            min_psnr=args.min_psnr,
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def print_summary(done: Reencoding, out: Path) -> None:
    """Print how many videos have come to which end, and why some have failed."""
    failures = done.failures()
    for source, reason in list(failures.items())[:MAX_SHOWN]:
        print(reason if str(source) in reason else f"{source}: {reason}")
    if len(failures) > MAX_SHOWN:
        print(f"... and {len(failures) - MAX_SHOWN} more")
    before, after = done.num_bytes()
    print(
        f"{out}: {done.count('written')} videos written, {done.count('kept')} were there, "
        f"{len(failures)} failed; {before / 1e6:.1f} MB became {after / 1e6:.1f} MB"
    )
    if failures:
        print(f"failures: {out / FAILURES_NAME}")


def choose_new_list(videos: VideoList, args: argparse.Namespace) -> Path | None:
    """Return where a list is written anew, None where a folder was given.

    Raises:
        UserError: There is the list that was given.
    """
    if videos.is_folder:
        return None
    path = Path(args.new_list or args.out / videos.source.name)
    if path.exists() and path.samefile(videos.source):
        raise UserError(f"{path} is the list that was given; give another --new-list")
    return path


def main() -> None:
    """Plan, re-encode, and tell by the exit status whether all went well."""
    args = parse_args()
    with one_line_errors():
        options = read_options(args)
        videos = read_source(
            args.source,
            root=args.root,
            delimiter=args.delimiter,
            has_many_labels=args.multi_class,
        )
        new_list = choose_new_list(videos, args)
        jobs = plan_jobs(videos, args.out, options, overwrite=args.overwrite)
        done = reencode_videos(
            jobs,
            args.out,
            num_processes=args.processes,
            timeout=args.timeout,
            min_free_bytes=int(args.min_free_gb * 1e9),
        )
        print_summary(done, args.out)
        if new_list is not None:
            num_lines, num_left_out = write_new_list(videos, done, args.out, new_list)
            print(f"list: {new_list} ({num_lines} lines, {num_left_out} left out)")
    sys.exit(1 if done.failures() else 0)


if __name__ == "__main__":
    main()
