"""Show the AM flow of a video: an overlay video and a contact sheet.

AM flow is measured on the frozen image model of a config, so no checkpoint is needed.

    python tools/visualization/amflow_video.py clip.mp4
    python tools/visualization/amflow_video.py clip.mp4 --layers 2 5 --size 392 --device cuda
"""

import argparse
from pathlib import Path

import torch

from amflow_mm.apis import build_frozen_flow, flow_of_video, write_flow_pictures
from amflow_mm.apis.flow_video import DEFAULT_SECONDS, DEFAULT_SIZE
from amflow_mm.apis.video_reader import probe_video
from amflow_mm.engine.config_check import check_config
from amflow_mm.engine.errors import UserError, one_line_errors
from amflow_mm.engine.launch import load_config

DEFAULT_CONFIG = Path(__file__).resolve().parents[2] / "configs" / "amflow_vits_motion.py"


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Draw the AM flow of a video.")
    parser.add_argument("video", type=Path, help="any video file")
    parser.add_argument(
        "--config", default=str(DEFAULT_CONFIG), help="whose model is used (default: %(default)s)"
    )
    parser.add_argument(
        "--out-dir",
        type=Path,
        default=Path("work_dirs/amflow_video"),
        help="folder of the pictures (default: %(default)s)",
    )
    parser.add_argument(
        "--layers",
        type=int,
        nargs="+",
        metavar="BLOCK",
        help="blocks to average over, from 0 (default: the second to the middle one)",
    )
    parser.add_argument(
        "--num-frames", type=int, metavar="N", help="read the first N frames (default: all)"
    )
    parser.add_argument(
        "--stride",
        type=int,
        metavar="N",
        help=f"frames between the two that are compared (default: {DEFAULT_SECONDS} seconds)",
    )
    parser.add_argument(
        "--size",
        type=int,
        default=DEFAULT_SIZE,
        metavar="PIXELS",
        help="short side at which the model sees frames (default: %(default)s)",
    )
    parser.add_argument(
        "--device", help="such as cpu or cuda:0 (default: the GPU where there is one)"
    )
    return parser.parse_args()


def choose_device(name: str | None) -> torch.device:
    """Return the device of that name, after a look whether it exists."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name}: {str(error).splitlines()[0]}") from error
    return device


def main() -> None:
    """Measure, draw, and say where the pictures are."""
    args = parse_args()
    with one_line_errors():
        # First of all: a mistyped path must not cost the download of weights.
        probe_video(args.video)
        cfg = load_config(args.config)
        check_config(cfg)
        measured = flow_of_video(
            args.video,
            build_frozen_flow(cfg, choose_device(args.device)),
            layers=args.layers,
            stride=args.stride,
            size=args.size,
            num_frames=args.num_frames,
            show_progress=True,
        )
        pictures = write_flow_pictures(args.video, measured, args.out_dir, show_progress=True)
    print(pictures.video)
    print(pictures.contact_sheet)


if __name__ == "__main__":
    main()
