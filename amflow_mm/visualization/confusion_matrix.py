"""Confusion matrices as pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Real
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MAX_CLASSES_WITH_NUMBERS = 32
"""Above this the cells are too small for a number."""

POINTS_PER_INCH = 72


def draw_confusion_matrix(
    matrix: Real[np.ndarray, "K K"],
    class_names: Sequence[str],
    path: str | Path,
    *,
    title: str = "Confusion matrix",
) -> None:
    """Write a confusion matrix as a picture.

    A cell's colour is the share of its true class (its row), so that rare classes can be
    read as well as frequent ones; its number, where it has room, is the count. A class
    without samples leaves an empty row.

    Args:
        matrix: Counts, true classes down, predicted classes across.
        class_names: K names, in the order of the labels.
        path: Of the picture; its suffix gives the format.
        title: Stands above the picture.
    """
    matrix = np.asarray(matrix)
    _check_matrix(matrix, class_names)
    num_classes = len(class_names)
    # Small matrices get large cells; 400 classes a type of 6 points, legible when zoomed in.
    cell = np.interp(num_classes, [2, 30, 100, 400], [0.9, 0.45, 0.2, 0.11])
    font_size = float(np.clip(0.6 * cell * POINTS_PER_INCH, 6, 11))
    side = max(3.0, cell * num_classes)
    figure = Figure(figsize=(side + 2.0, side + 1.0), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    counts = matrix.sum(axis=1, keepdims=True)
    shares = np.where(counts > 0, matrix / np.maximum(counts, 1), np.nan)
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0, interpolation="nearest")
    heading_size = float(np.clip(side, 11, 40))
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("share of the true class", fontsize=heading_size)
    bar.ax.tick_params(labelsize=heading_size)
    _label_axes(axes, class_names, font_size=font_size, heading_size=heading_size)
    axes.set_title(title, fontsize=heading_size)
    if num_classes <= MAX_CLASSES_WITH_NUMBERS:
        _write_numbers(axes, matrix, shares, font_size=min(9.0, font_size))
    figure.savefig(path)


def _check_matrix(matrix: Real[np.ndarray, "..."], class_names: Sequence[str]) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"matrix has shape {matrix.shape}; a confusion matrix is square, K by K")
    if len(class_names) != len(matrix):
        raise ValueError(
            f"class_names has {len(class_names)} names for {len(matrix)} classes; give one each"
        )
    if len(matrix) < 2:
        raise ValueError("matrix has fewer than 2 classes; there is nothing to confuse")
    if not np.isfinite(matrix).all() or (matrix < 0).any():
        raise ValueError("matrix holds negative or non-finite counts; pass counts >= 0")


def _label_axes(
    axes: Axes, class_names: Sequence[str], *, font_size: float, heading_size: float
) -> None:
    ticks = range(len(class_names))
    axes.set_xticks(ticks, class_names, rotation=90, fontsize=font_size)
    axes.set_yticks(ticks, class_names, fontsize=font_size)
    axes.set_xlabel("predicted class", fontsize=heading_size)
    axes.set_ylabel("true class", fontsize=heading_size)


def _write_numbers(
    axes: Axes,
    matrix: Real[np.ndarray, "K K"],
    shares: Real[np.ndarray, "K K"],
    *,
    font_size: float,
) -> None:
    """Write each count other than zero into its cell, light on dark cells."""
    for row, column in np.argwhere(matrix > 0):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(
            column,
            row,
            f"{matrix[row, column]:g}",
            ha="center",
            va="center",
            color=colour,
            fontsize=font_size,
        )
