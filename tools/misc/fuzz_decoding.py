"""Decode damaged videos and see that nothing crashes, hangs or passes rubbish off as video.

Bits are flipped, ends cut off, ranges zeroed or left out, MP4 boxes swapped. The exit status is 1
if a decoder took its process down or kept it, if an error escaped that names no reason, or if
blank frames came out. A failing file stays in the folder.

Example:
    python tools/misc/fuzz_decoding.py --videos clip.mp4 other.avi --out-dir work_dirs/fuzz
"""

import argparse
import sys
from pathlib import Path

from amflow_mm.datasets.decoding.backends import PACKAGES, is_installed
from amflow_mm.datasets.decoding.fuzzing import fuzz
from amflow_mm.datasets.motion_clips import generate_clip
from amflow_mm.datasets.video_writer import write_video
from amflow_mm.engine.errors import one_line_errors


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Decode damaged videos.", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--videos", nargs="+", type=Path, help="whole files; a generated one else")
    parser.add_argument("--backends", nargs="+", choices=list(PACKAGES), help="installed ones else")
    parser.add_argument("--files", type=int, default=1000, help="damaged files")
    parser.add_argument("--seed", type=int, default=0, help="of the first file")
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds for one file")
    parser.add_argument("--processes", type=int, default=1, help="files at a time")
    parser.add_argument("--out-dir", type=Path, required=True, help="folder for damaged files")
    return parser.parse_args()


def make_video(folder: Path) -> Path:
    """Write a video to damage."""
    path = folder / "generated.mp4"
    write_video(path, generate_clip("left", "train", 0, num_frames=32, size=64).frames, fps=16)
    return path


def main() -> None:
    """Damage, decode, print the table."""
    args = parse_args()
    args.out_dir.mkdir(parents=True, exist_ok=True)
    with one_line_errors():
        report = fuzz(
            args.videos or [make_video(args.out_dir)],
            args.backends or [name for name in PACKAGES if is_installed(name)],
            args.out_dir,
            num_files=args.files,
            seed=args.seed,
            timeout=args.timeout,
            num_processes=args.processes,
        )
    print(report.format())
    sys.exit(1 if report.failures() else 0)


if __name__ == "__main__":
    main()
