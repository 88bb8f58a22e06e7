"""A clip that reaches the device whole, and the views that are to be made of it there.

Cropping, resizing and flipping in the data workers costs their time, and overlapping crops cross
to the device several times. Here the worker draws the geometry alone, and the pixels stay as they
are until the clip is on the device.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Num
from mmengine.structures import BaseDataElement
from torch import Tensor

HEIGHT_AXIS, WIDTH_AXIS = -2, -1


@dataclass(frozen=True)
class ClipView:
    """What to make of each frame of a clip: cut out a box, resize it, mirror it.

    Attributes:
        box: Left, top, right and bottom edge, in pixels; right and bottom lie outside.
        size: Height and width of the view, in pixels.
        flip_horizontal: Whether left and right are swapped.
        flip_vertical: Whether top and bottom are swapped.
    """

    box: tuple[int, int, int, int]
    size: tuple[int, int]
    flip_horizontal: bool = False
    flip_vertical: bool = False

    def render(
        self, clips: Num[Tensor, "clips C T height width"]
    ) -> Num[Tensor, "clips C T view_height view_width"]:
        """Return the view, in the dtype of the clips where its size is the box's, else float32.

        Pixels are moved as they are, of one byte each; only what is resized becomes float.
        """
        left, top, right, bottom = self.box
        frames = clips[..., top:bottom, left:right]
        axes = [
            axis
            for axis, flip in (
                (HEIGHT_AXIS, self.flip_vertical),
                (WIDTH_AXIS, self.flip_horizontal),
            )
            if flip
        ]
        if axes:
            # Before the resizing, which is symmetric, because there are fewer bytes to move.
            frames = frames.flip(axes)
        if frames.shape[-2:] == self.size:
            return frames
        pixels = frames.to(torch.float32, memory_format=torch.contiguous_format)
        resized = F.interpolate(
            pixels.flatten(1, 2), self.size, mode="bilinear", align_corners=False
        )
        return resized.unflatten(1, frames.shape[1:3])


class PlannedClip(BaseDataElement):
    """Decoded clips of a video, and the views that are to be made of each.

    The tensor ``clips`` is data: it is pinned and moved to the device. The tuple ``views`` is
    metainfo and stays with the host, which slices by it without waiting for the device.

    It stands in the place of a tensor as ``inputs`` of a sample, so that a preprocessor that knows
    nothing of views fails at once instead of training on whole frames.
    """

    clips: Num[Tensor, "clips C T height width"]
    views: tuple[ClipView, ...]

    @property
    def shape(self) -> torch.Size:
        """Shape of what :meth:`render` returns: V, channels, T, height and width."""
        num_clips, *channels_frames = self.clips.shape[:3]
        return torch.Size((len(self.views) * num_clips, *channels_frames, *self.views[0].size))

    def render(self) -> Num[Tensor, "V C T view_height view_width"]:
        """Make the views: all clips in the first one, then all in the second, as MMAction2 does."""
        views = [view.render(self.clips) for view in self.views]
        return views[0] if len(views) == 1 else torch.cat(views)

    def pin_memory(self) -> "PlannedClip":
        """Return a copy in page-locked memory; torch's loader asks for it by this name."""
        return self.new(clips=self.clips.pin_memory())

    def __getattr__(self, name: str) -> Any:
        """Name the remedy where the clip is taken for a tensor."""
        raise AttributeError(
            f"PlannedClip has no {name!r}: it is still to be cropped, resized or flipped. Set "
            "model.data_preprocessor.type to ClipPreprocessor, or leave the Plan... steps out"
        )


def render_clips(inputs: Iterable[Tensor | PlannedClip]) -> list[Tensor]:
    """Make the views of planned clips; tensors stay as they are."""
    return [clip.render() if isinstance(clip, PlannedClip) else clip for clip in inputs]
