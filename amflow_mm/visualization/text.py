"""Lines of text as small images, the bricks that pictures are captioned with."""

from functools import lru_cache
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

INK = 235
"""Grey level of text, 0-255, on the black ground that pictures are mounted on."""

MIN_FONT_SIZE = 10
"""Pixels; smaller type cannot be read."""

Align = Literal["left", "centre", "right"]


@lru_cache(maxsize=16)
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Load the sans-serif type that matplotlib ships, so that no system font is needed.

    Args:
        size: Height of a line of type in pixels.
    """
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(file, size)


def shorten(text: str, *, width: int, size: int) -> str:
    """Cut a text to a width in pixels, the cut shown by an ellipsis."""
    font = load_font(size)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def text_strip(
    text: str, *, width: int, size: int, align: Align = "left"
) -> UInt8[np.ndarray, "height {width} 3"]:
    """Set one line of text on a black strip of exactly this width.

    Args:
        text: The line; what does not fit is cut off, visibly.
        width: Of the strip, in pixels.
        size: Of the type, in pixels; the strip is half as high again.
        align: Where the line stands in the strip.
    """
    anchors = {"left": (0, "lm"), "centre": (width // 2, "mm"), "right": (width - 1, "rm")}
    if align not in anchors:
        raise ValueError(f"align={align!r} is unknown; choose one of {sorted(anchors)}")
    x, anchor = anchors[align]
    strip = Image.new("L", (width, round(1.5 * size)))
    line = shorten(text, width=width, size=size)
    ImageDraw.Draw(strip).text(
        (x, strip.height // 2), line, fill=INK, font=load_font(size), anchor=anchor
    )
    return np.repeat(np.asarray(strip)[:, :, None], 3, axis=2)
