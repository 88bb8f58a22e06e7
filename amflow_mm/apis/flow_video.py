"""AM flow of a whole video, of any length: measured, then drawn."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from amflow_mm.apis.frozen_flow import FrozenFlow
from amflow_mm.apis.video_reader import VideoFrame, probe_video, read_frames
from amflow_mm.engine.errors import UserError
from amflow_mm.progress import track

DEFAULT_SECONDS = 0.1
"""Time between compared frames; at 25-30 fps neighbours differ by little but coding noise."""

DEFAULT_SIZE = 280
"""Short side in pixels at which frames are measured."""

PAIRS_AT_ONCE = 16
"""Frame pairs that go through the model together, which bounds the memory."""


@dataclass(frozen=True)
class VideoFlow:
    """AM flow of a video.

    Attributes:
        flow: w of each compared pair of frames, averaged over blocks, patches row by row.
        grid: Rows and columns of patches.
        stride: Frames from the first to the second of a pair, and from pair to pair.
        layers: Blocks that were averaged.
        num_frames: Frames of the video that were read.
        fps: Frames per second of the video.
    """

    flow: Float[np.ndarray, "S P"]
    grid: tuple[int, int]
    stride: int
    layers: tuple[int, ...]
    num_frames: int
    fps: float

    def at(self, index: int) -> Float[np.ndarray, " P"]:
        """Return w at a frame, interpolated in time between the middles of pairs.

        Both frames of a pair light up in its w, where things come from and where they go to.
        A frame that ends one pair and starts the next gets the mean of the two, in which its
        own place is the strongest.
        """
        position = float(np.clip(index / self.stride - 0.5, 0, len(self.flow) - 1))
        before = int(position)
        after = min(before + 1, len(self.flow) - 1)
        share = position - before
        return (1 - share) * self.flow[before] + share * self.flow[after]


def flow_of_video(
    video: str | os.PathLike[str],
    model: FrozenFlow,
    *,
    layers: Sequence[int] | None = None,
    stride: int | None = None,
    size: int = DEFAULT_SIZE,
    num_frames: int | None = None,
    show_progress: bool = False,
) -> VideoFlow:
    """Measure the AM flow of a video.

    The video is decoded once and never held in memory.

    Args:
        video: Path of the video.
        model: See :func:`build_frozen_flow`.
        layers: Blocks to average over, from 0; the model's default ones otherwise.
        stride: Frames between the two that are compared; 0.1 seconds by default.
        size: Short side in pixels at which frames are measured; both sides are rounded to
            the patch size, so that the aspect ratio is nearly kept.
        num_frames: Read only so many frames of the video.
        show_progress: Draw a progress bar on stderr.

    Raises:
        UserError: The video is missing, unreadable or too short, or an option does not fit.
    """
    layers = _check_layers(layers, model)
    if size < model.patch_size:
        raise UserError(f"size={size} must be >= the model's patch size, {model.patch_size} pixels")
    if num_frames is not None and num_frames < 2:
        raise UserError(f"num_frames={num_frames} must be >= 2: AM flow compares frames")
    info = probe_video(video)
    total = min(info.num_frames, num_frames or info.num_frames)
    stride = _choose_stride(stride, info.fps, total)
    frames: Iterable[VideoFrame] = read_frames(video, num_frames=num_frames)
    if show_progress:
        frames = track(frames, total=total, description="AM flow, frames")
    flows: list[np.ndarray] = []
    clip: list[np.ndarray] = []
    count = 0
    for count, frame in enumerate(frames, start=1):
        if (count - 1) % stride == 0:
            clip.append(_shrunk(frame.image, size, model.patch_size))
        if len(clip) == PAIRS_AT_ONCE + 1:
            flows.append(_measure(model, clip, layers))
            clip = clip[-1:]
    if len(clip) > 1:
        flows.append(_measure(model, clip, layers))
    if not flows:
        raise UserError(
            f"{video}: {count} frames are too few to compare frames {stride} apart; lower the "
            "stride, or take a longer video"
        )
    height, width = clip[-1].shape[:2]
    return VideoFlow(
        flow=np.concatenate(flows),
        grid=(height // model.patch_size, width // model.patch_size),
        stride=stride,
        layers=layers,
        num_frames=count,
        fps=info.fps,
    )


def measured_size(height: int, width: int, *, size: int, patch_size: int) -> tuple[int, int]:
    """Return height and width at which frames are measured: multiples of the patch size.

    Args:
        height: Of the video, in pixels.
        width: Of the video, in pixels.
        size: Wanted short side in pixels.
        patch_size: Side of a patch in pixels.
    """
    scale = size / min(height, width)
    rows, columns = (max(1, round(side * scale / patch_size)) for side in (height, width))
    return rows * patch_size, columns * patch_size


def _shrunk(
    image: UInt8[np.ndarray, "_ _ 3"], size: int, patch_size: int
) -> UInt8[np.ndarray, "_ _ 3"]:
    height, width = measured_size(*image.shape[:2], size=size, patch_size=patch_size)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _measure(
    model: FrozenFlow, clip: Sequence[UInt8[np.ndarray, "height width 3"]], layers: Sequence[int]
) -> Float[np.ndarray, "S P"]:
    device = next(model.parameters()).device
    return model(torch.from_numpy(np.stack(clip)).to(device), layers).cpu().numpy()


def _check_layers(layers: Sequence[int] | None, model: FrozenFlow) -> tuple[int, ...]:
    chosen = model.default_layers() if layers is None else tuple(sorted(set(layers)))
    if not chosen or chosen[0] < 0 or chosen[-1] >= model.depth:
        raise UserError(f"layers={list(chosen)} must be blocks from 0 to {model.depth - 1}")
    return chosen


def _choose_stride(stride: int | None, fps: float, total: int) -> int:
    if stride is None:
        return max(1, min(round(DEFAULT_SECONDS * fps), total - 1))
    if stride < 1:
        raise UserError(f"stride={stride} must be >= 1 frame")
    return stride
