"""Generate the motion clips: videos in which only the order of the frames tells the class.

Example:
    python tools/data/make_motion_clips.py --out data/motion --train 960 --val 160
"""

import argparse
import math
import os
import sys
import time

from amflow_mm.datasets.motion_clips import CAMERAS, DIFFICULTIES
from amflow_mm.datasets.motion_dataset import make_dataset


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Generate synthetic motion clips (H.264 mp4, annotation lists, motion masks).",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", required=True, help="folder of the data set")
    parser.add_argument("--train", type=int, default=960, help="training clips, multiple of 8")
    parser.add_argument("--val", type=int, default=160, help="validation clips, multiple of 8")
    parser.add_argument("--seed", type=int, default=0, help="seed of all clips")
    parser.add_argument("--difficulty", choices=DIFFICULTIES, default="easy")
    parser.add_argument("--camera", choices=CAMERAS, default="static")
    parser.add_argument("--frames", type=int, default=16, help="frames of a clip")
    parser.add_argument("--size", type=int, default=112, help="height and width, pixels")
    parser.add_argument("--fps", type=int, default=16, help="frame rate of the videos")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="threads; the files do not vary"
    )
    return parser.parse_args()


class ProgressLine:
    """One line on stderr, rewritten twice a second: clips done, in all, remaining time."""

    def __init__(self) -> None:
        """Start the clock."""
        self.start = time.monotonic()
        self.shown = -math.inf
        self.first: int | None = None

    def __call__(self, done: int, total: int) -> None:
        """Rewrite the line when it is due."""
        now = time.monotonic()
        # Clips of an earlier run do not count into the speed of this one.
        self.first = done if self.first is None else self.first
        if done < total and now - self.shown < 0.5:
            return
        self.shown = now
        made = done - self.first
        remaining = f"{(now - self.start) / made * (total - done):.0f} s" if made else "?"
        print(
            f"\r{done}/{total} clips, {remaining} remaining  ",
            end="\n" if done == total else "",
            file=sys.stderr,
            flush=True,
        )


def main() -> None:
    """Make the data set and say where it is."""
    args = parse_args()
    try:
        folder = make_dataset(
            args.out,
            num_train=args.train,
            num_val=args.val,
            seed=args.seed,
            difficulty=args.difficulty,
            camera=args.camera,
            num_frames=args.frames,
            size=args.size,
            fps=args.fps,
            num_workers=args.workers,
            progress=ProgressLine(),
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{folder}: {args.train} training and {args.val} validation clips")


if __name__ == "__main__":
    main()
