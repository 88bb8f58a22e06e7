"""Crops, sizes and flips that are drawn in the data worker and carried out on the device.

Each step means what MMAction2's step of the same name means and draws the same random numbers,
but stands behind ``PackActionInputs`` and touches no pixel: it notes in a ``PlannedClip`` what
``ClipPreprocessor`` is to do. The beginning of the geometry may stay in the worker, and a single
crop should: there it costs nothing, because the frames are copied anyway, and it spares the bytes
that it cuts off. So there is no planned random or centre crop::

    RandomResizedCrop, FormatShape, PackActionInputs, PlanResize, PlanFlip
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from mmcv.transforms import BaseTransform
from torch import Tensor

from amflow_mm.datasets.planned_clip import ClipView, PlannedClip
from amflow_mm.registry import TRANSFORMS

Views = tuple[ClipView, ...]


class _PlanStep(BaseTransform):
    """A step that changes the plan of a clip.

    The sample's ``img_shape`` follows, as it does in MMAction2's steps.
    """

    @abstractmethod
    def plan(self, views: Views) -> Views:
        """Return the views after this step."""

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace the inputs of a packed sample by the same with a new plan."""
        inputs = results.get("inputs")
        if isinstance(inputs, Tensor):
            inputs = self._whole(inputs)
        elif not isinstance(inputs, PlannedClip):
            raise ValueError(
                f"{type(self).__name__} found no packed clip; put it behind PackActionInputs"
            )
        views = self.plan(inputs.views)
        results["inputs"] = inputs.new(metainfo={"views": views})
        results["data_samples"].set_metainfo({"img_shape": views[0].size})
        return results

    def _whole(self, clips: Tensor) -> PlannedClip:
        """Plan to leave the frames as they are."""
        if clips.ndim != 5:
            raise ValueError(
                f"{type(self).__name__} got inputs of shape {tuple(clips.shape)} in place of "
                "(clips, 3, T, height, width); use FormatShape(input_format='NCTHW')"
            )
        return PlannedClip(clips=clips, metainfo={"views": (_whole_view(*clips.shape[-2:]),)})


@TRANSFORMS.register_module()
class PlanThreeCrop(_PlanStep):
    """Plan MMAction2's ``ThreeCrop``; the clip crosses to the device once instead of three times.

    Args:
        crop_size: Side, or width and height, in pixels; one of them is the frame's.
    """

    def __init__(self, crop_size: int | tuple[int, int]) -> None:
        self.width, self.height = _width_height("crop_size", crop_size)

    def plan(self, views: Views) -> Views:
        """Cut out both ends and the middle, in MMAction2's order."""
        height, width = views[0].size
        if views != (_whole_view(height, width),):
            raise ValueError("PlanThreeCrop stands behind another planned step; it comes first")
        is_strip = self.height == height and self.width <= width
        if not is_strip and not (self.width == width and self.height <= height):
            raise ValueError(
                f"crop_size=({self.width}, {self.height}) must have the height or the width of the "
                f"frames, {width} x {height}, and exceed neither; resize them before"
            )
        right, down = (width - self.width) // 2, (height - self.height) // 2
        return tuple(
            ClipView((left, top, left + self.width, top + self.height), (self.height, self.width))
            for left, top in ((0, 0), (2 * right, 2 * down), (right, down))
        )


@TRANSFORMS.register_module()
class PlanResize(_PlanStep):
    """Plan MMAction2's ``Resize(scale, keep_ratio=False)``, bilinear.

    Args:
        scale: Side, or width and height, in pixels.
    """

    def __init__(self, scale: int | tuple[int, int]) -> None:
        self.width, self.height = _width_height("scale", scale)

    def plan(self, views: Views) -> Views:
        """Give every view the size."""
        return tuple(replace(view, size=(self.height, self.width)) for view in views)


@TRANSFORMS.register_module()
class PlanFlip(_PlanStep):
    """Plan MMAction2's ``Flip``: all views of a clip are mirrored, or none.

    Args:
        flip_ratio: Probability, 0-1.
        direction: Which ends are swapped.
    """

    def __init__(
        self, flip_ratio: float = 0.5, direction: Literal["horizontal", "vertical"] = "horizontal"
    ) -> None:
        if not 0 <= flip_ratio <= 1:
            raise ValueError(f"flip_ratio={flip_ratio} is a probability; it must be in 0-1")
        if direction not in ("horizontal", "vertical"):
            raise ValueError(f"direction={direction!r} must be 'horizontal' or 'vertical'")
        self.flip_ratio = flip_ratio
        self.direction = direction

    def plan(self, views: Views) -> Views:
        """Draw whether to flip; what is flipped twice is as before."""
        if np.random.rand() >= self.flip_ratio:
            return views
        name = f"flip_{self.direction}"
        return tuple(replace(view, **{name: not getattr(view, name)}) for view in views)


def _whole_view(height: int, width: int) -> ClipView:
    return ClipView((0, 0, width, height), (height, width))


def _width_height(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    """Read a size as MMAction2's configs state it."""
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f"{name}={size!r} must be a side or (width, height), in whole pixels > 0")
    return pair
