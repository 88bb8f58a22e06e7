"""AM flow drawn on frames: a heat map of w, and the colour bar that says what it means."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from amflow_mm.visualization.text import MIN_FONT_SIZE, text_strip

MEAN_FLOW = 1.0
"""The mean of w over the patches of a frame, whatever the frame shows (method.md, section 2)."""

Interpolation = Literal["smooth", "patches"]


@dataclass(frozen=True)
class FlowScale:
    """The range of w that is drawn, from no colour to full colour.

    One scale serves a whole clip: were it set frame by frame, a still frame would glow
    as brightly as a moving one.

    Attributes:
        low: Up to this w nothing is drawn.
        high: From this w on the colour is full.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low={self.low} must be < high={self.high}: the scale has no span")

    def strength(self, flow: Float[np.ndarray, "*axes"]) -> Float[np.ndarray, "*axes"]:
        """Map w to a strength of 0-1."""
        return np.clip((flow - self.low) / (self.high - self.low), 0.0, 1.0)


def clip_scale(
    flow: Float[np.ndarray, "T P"], *, percentile: float = 99.5, min_span: float = 0.1
) -> FlowScale:
    """Choose the scale of a clip: from the mean to nearly the strongest w.

    Args:
        flow: w of the whole clip.
        percentile: Of w over the clip, at which the colour is full. Below 100, so that
            one outlying patch does not darken the rest.
        min_span: Least span of the scale. A still clip has w = 1 up to rounding and
            coding noise, which must not be stretched into a picture.
    """
    if not np.isfinite(flow).all():
        raise ValueError("flow holds NaN or infinity; AM flow is finite: check its inputs")
    return FlowScale(
        low=MEAN_FLOW, high=max(float(np.percentile(flow, percentile)), MEAN_FLOW + min_span)
    )


def overlay_flow(
    frames: UInt8[np.ndarray, "T height width 3"],
    flow: Float[np.ndarray, "T P"],
    grid: tuple[int, int],
    *,
    scale: FlowScale | None = None,
    interpolation: Interpolation = "smooth",
    max_alpha: float = 0.85,
    dim: float = 0.55,
) -> UInt8[np.ndarray, "T height width 3"]:
    """Draw w as a heat map over dimmed frames.

    The opacity follows the strength, so that still areas stay visible and w <= 1 leaves
    nothing but the uniform dimming.

    Args:
        frames: RGB. The patch grid spans the whole frame.
        flow: w, patches row by row.
        grid: Rows and columns of patches.
        scale: Of w; the clip's own by default. Give it when a clip is drawn in pieces.
        interpolation: `smooth` between patch centres, or one flat colour for each patch.
        max_alpha: Opacity of the strongest w, 0-1.
        dim: Brightness that the frames keep, 0-1; 1 leaves them as they are.
    """
    rows, columns = grid
    if flow.shape[1] != rows * columns:
        raise ValueError(
            f"flow has {flow.shape[1]} patches, grid={grid} has {rows * columns}; "
            "pass the rows and columns of patches that the model saw"
        )
    if len(frames) != len(flow):
        raise ValueError(f"flow has T={len(flow)}, frames have T={len(frames)}; pass one w a frame")
    for name, value in (("max_alpha", max_alpha), ("dim", dim)):
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"{name}={value} must be in 0-1")
    scale = scale or clip_scale(flow)
    maps = _enlarged(flow.reshape(-1, rows, columns), frames.shape[1:3], interpolation)
    drawn = [
        _blend(frame, scale.strength(w), max_alpha=max_alpha, dim=dim)
        for frame, w in zip(frames, maps, strict=True)
    ]
    return np.stack(drawn) if drawn else frames


def colour_bar(
    scale: FlowScale, width: int, *, label: str = "AM flow w per patch (mean 1)"
) -> UInt8[np.ndarray, "height {width} 3"]:
    """Draw the legend of an overlay: what is shown, the colours, and their values of w.

    Args:
        scale: Of the overlay.
        width: Of the bar in pixels; text and height follow it.
        label: What the colours stand for.
    """
    size = max(MIN_FONT_SIZE, width // 40)
    ramp = np.tile(np.linspace(0.0, 1.0, width, dtype=np.float32), (max(6, size // 2), 1))
    ground = np.zeros((*ramp.shape, 3), np.uint8)
    digits = 1 if scale.high - scale.low >= 1 else 3
    middle = (scale.low + scale.high) / 2
    third = width // 3
    ticks = [
        text_strip(f"≤ {scale.low:.{digits}f}", width=third, size=size),
        text_strip(f"{middle:.{digits}f}", width=width - 2 * third, size=size, align="centre"),
        text_strip(f"≥ {scale.high:.{digits}f}", width=third, size=size, align="right"),
    ]
    return np.concatenate(
        [
            text_strip(label, width=width, size=size, align="centre"),
            _blend(ground, ramp, max_alpha=1.0, dim=1.0),
            np.concatenate(ticks, axis=1),
        ]
    )


def _enlarged(
    maps: Float[np.ndarray, "T rows columns"], shape: tuple[int, int], interpolation: Interpolation
) -> Iterator[Float[np.ndarray, "height width"]]:
    """Enlarge the maps of w to the size of the frames, one at a time."""
    methods = {"smooth": cv2.INTER_LINEAR, "patches": cv2.INTER_NEAREST}
    if interpolation not in methods:
        raise ValueError(
            f"interpolation={interpolation!r} is unknown; choose one of {sorted(methods)}"
        )
    height, width = shape
    for w in maps.astype(np.float32):
        yield cv2.resize(w, (width, height), interpolation=methods[interpolation])


def _blend(
    frame: UInt8[np.ndarray, "height width 3"],
    strength: Float[np.ndarray, "height width"],
    *,
    max_alpha: float,
    dim: float,
) -> UInt8[np.ndarray, "height width 3"]:
    """Lay the colour of a strength over a frame, as opaque as it is strong.

    The colour map is perceptually uniform and grows brighter with w, so that the picture
    can be read in grey as well.
    """
    index = np.rint(strength * 255).astype(np.uint8)
    heat = cv2.cvtColor(cv2.applyColorMap(index, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    alpha = (max_alpha * strength)[:, :, None]
    return np.rint((1 - alpha) * dim * frame + alpha * heat).astype(np.uint8)
