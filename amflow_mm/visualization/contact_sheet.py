"""Contact sheets: moments of a clip side by side, one row for each way of seeing them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from amflow_mm.visualization.text import MIN_FONT_SIZE, text_strip

MARGIN = 8
"""Pixels between tiles and around the sheet."""

Image = UInt8[np.ndarray, "_ _ 3"]
"""RGB; the axes are anonymous because each image may have a size of its own."""


@dataclass(frozen=True)
class SheetRow:
    """One row of a contact sheet.

    Attributes:
        label: What the row shows; stands above it.
        images: RGB, one for each column.
        captions: One for each image, below it; empty for none.
    """

    label: str
    images: Sequence[Image]
    captions: Sequence[str] = ()


def contact_sheet(
    rows: Sequence[SheetRow], *, title: str = "", footer: Image | None = None, tile_width: int = 240
) -> Image:
    """Lay rows of images out on one sheet.

    Args:
        rows: From top to bottom, each with the same number of images.
        title: Stands above everything.
        footer: An image below everything, centred, such as a colour bar; one that is wider
            than the sheet is reduced.
        tile_width: Width of each image on the sheet, in pixels; heights keep the aspect ratio.
    """
    columns = _check_columns(rows)
    width = columns * tile_width + (columns - 1) * MARGIN
    size = max(MIN_FONT_SIZE + 2, tile_width // 15)
    parts = [text_strip(title, width=width, size=round(1.25 * size))] if title else []
    for row in rows:
        parts.append(text_strip(row.label, width=width, size=size))
        parts.append(_side_by_side([_scaled(image, tile_width) for image in row.images]))
        if row.captions:
            strips = [
                text_strip(caption, width=tile_width, size=size, align="centre")
                for caption in row.captions
            ]
            parts.append(_side_by_side(strips))
    if footer is not None:
        footer = _scaled(footer, min(width, footer.shape[1]))
        left, spare = divmod(width - footer.shape[1], 2)
        parts.append(np.pad(footer, ((MARGIN, 0), (left, left + spare), (0, 0))))
    return np.pad(np.concatenate(parts), ((MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))


def _check_columns(rows: Sequence[SheetRow]) -> int:
    """Return the number of columns, on which all rows must agree."""
    if not rows or not rows[0].images:
        raise ValueError("rows is empty; a contact sheet needs at least one image")
    columns = len(rows[0].images)
    for row in rows:
        if len(row.images) != columns:
            raise ValueError(
                f"row {row.label!r} has {len(row.images)} images, the first row {columns}; "
                "all rows need the same number"
            )
        if row.captions and len(row.captions) != columns:
            raise ValueError(
                f"row {row.label!r} has {len(row.captions)} captions for {columns} images; "
                "give one for each image, or none"
            )
    return columns


def _scaled(image: Image, width: int) -> Image:
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    shrinks = width < image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=interpolation)


def _side_by_side(images: Sequence[Image]) -> Image:
    """Join images with a margin between them, hung from one line."""
    height = max(image.shape[0] for image in images)
    parts = []
    for image in images:
        parts.append(np.pad(image, ((0, height - image.shape[0]), (0, 0), (0, 0))))
        parts.append(np.zeros((height, MARGIN, 3), np.uint8))
    return np.concatenate(parts[:-1], axis=1)
