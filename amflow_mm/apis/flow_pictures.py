"""The AM flow of a video as pictures: an overlay video and a contact sheet."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from amflow_mm.apis.flow_video import VideoFlow
from amflow_mm.apis.video_reader import VideoFrame, read_frames
from amflow_mm.datasets.video_writer import write_video
from amflow_mm.progress import track
from amflow_mm.visualization import SheetRow, clip_scale, colour_bar, contact_sheet, overlay_flow
from amflow_mm.visualization.flow_overlay import Interpolation

SHORT_SIDE = 240
"""Smaller videos are drawn enlarged to this, so that the colour bar can be read."""

LONG_SIDE = 1280
"""Larger videos are drawn reduced to this; more shows no more patches."""

SHEET_COLUMNS = 6
SHEET_TILE_WIDTH = 320


class FlowPictures(NamedTuple):
    """Paths of the pictures of a video."""

    video: Path
    contact_sheet: Path


def write_flow_pictures(
    video: str | os.PathLike[str],
    measured: VideoFlow,
    out_dir: str | os.PathLike[str],
    *,
    interpolation: Interpolation = "smooth",
    show_progress: bool = False,
) -> FlowPictures:
    """Draw the AM flow of a video: a video of the same rate and length, and a contact sheet.

    Args:
        video: Path of the video; it is decoded once more.
        measured: Its AM flow.
        out_dir: Folder of the pictures; they are named after the video.
        interpolation: See :func:`overlay_flow`.
        show_progress: Draw a progress bar on stderr.
    """
    out_dir = Path(out_dir)
    name = Path(video).stem
    pictures = FlowPictures(out_dir / f"{name}_amflow.mp4", out_dir / f"{name}_amflow.png")
    frames: Iterable[VideoFrame] = read_frames(video, num_frames=measured.num_frames)
    if show_progress:
        frames = track(frames, total=measured.num_frames, description="overlay, frames")
    painter = _Painter(measured, interpolation)
    write_video(pictures.video, painter.paint(frames), measured.fps)
    Image.fromarray(painter.contact_sheet(Path(video).name)).save(pictures.contact_sheet)
    return pictures


class _Painter:
    """Paints the frames of a video one after the other and keeps those of the contact sheet."""

    def __init__(self, measured: VideoFlow, interpolation: Interpolation) -> None:
        self.measured = measured
        self.interpolation = interpolation
        self.scale = clip_scale(measured.flow)
        # Evenly spread, and neither the first nor the last frame, which are often black.
        moments = np.linspace(0, measured.num_frames - 1, SHEET_COLUMNS + 2).round()
        self.moments = {int(moment) for moment in moments[1:-1]}
        self.originals: list[np.ndarray] = []
        self.overlays: list[np.ndarray] = []
        self.captions: list[str] = []

    def paint(self, frames: Iterable[VideoFrame]) -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
        """Yield the frames of the overlay video, each above the colour bar."""
        bar = None
        for index, frame in enumerate(frames):
            original, overlay = self._paint_frame(index, frame)
            if index in self.moments:
                self.originals.append(original)
                self.overlays.append(overlay)
                self.captions.append(f"t = {frame.time:.2f} s")
            bar = self._bar(overlay.shape[1]) if bar is None else bar
            yield np.concatenate([overlay, bar])

    def contact_sheet(self, title: str) -> UInt8[np.ndarray, "_ _ 3"]:
        """Lay out the frames that were kept."""
        rows = [
            SheetRow("frames", self.originals),
            SheetRow("AM flow", self.overlays, self.captions),
        ]
        stride, fps = self.measured.stride, self.measured.fps
        blocks = block_ranges(self.measured.layers)
        return contact_sheet(
            rows,
            title=f"{title}   AM flow of frames {stride} apart ({stride / fps:.2f} s), "
            f"mean of blocks {blocks}",
            footer=colour_bar(self.scale, min(len(self.originals), 3) * SHEET_TILE_WIDTH),
            tile_width=SHEET_TILE_WIDTH,
        )

    def _paint_frame(self, index: int, frame: VideoFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the frame in the size in which it is drawn, without and with its AM flow."""
        image = cv2.resize(frame.image, drawn_size(*frame.image.shape[:2])[::-1])
        overlay = overlay_flow(
            image[None],
            self.measured.at(index)[None],
            self.measured.grid,
            scale=self.scale,
            interpolation=self.interpolation,
        )
        return image, overlay[0]

    def _bar(self, width: int) -> UInt8[np.ndarray, "_ _ 3"]:
        bar = colour_bar(self.scale, width)
        return np.pad(bar, ((0, len(bar) % 2), (0, 0), (0, 0)))


def drawn_size(height: int, width: int) -> tuple[int, int]:
    """Return the even height and width at which frames of this size are drawn."""
    short, long = min(height, width), max(height, width)
    factor = min(max(1.0, SHORT_SIDE / short), LONG_SIDE / long)
    drawn_height, drawn_width = (max(2, 2 * round(side * factor / 2)) for side in (height, width))
    return drawn_height, drawn_width


def block_ranges(layers: Sequence[int]) -> str:
    """Write block numbers in short: 1-6, 9."""
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
