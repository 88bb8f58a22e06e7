"""Correspondences by loops: row-stochastic matrices from frame t to frame t + 1.

Row i says where the scene point at patch i of frame t lies in frame t + 1. Patches are
numbered row by row on a ``grid`` of (rows, columns).
"""

import math
from collections.abc import Sequence

import numpy as np

from tests.reference.basics import Array, softmax, to_numpy


def place(index: int, grid: tuple[int, int]) -> tuple[int, int]:
    """(row, column) of a patch."""
    return index // grid[1], index % grid[1]


def permutation(perm: Sequence[int]) -> Array:
    """The matrix of a scene that moves by a permutation: patch i goes to ``perm[i]``."""
    out = np.zeros((len(perm), len(perm)))
    for i, target in enumerate(perm):
        out[i, target] = 1.0
    return out


def dense(logits: object) -> Array:
    """Every patch may correspond to every patch: softmax of each row."""
    return np.array([softmax([float(value) for value in row]) for row in to_numpy(logits)])


def window(logits: object, grid: tuple[int, int], radius: int) -> Array:
    """Softmax over the patches at most ``radius`` rows and ``radius`` columns away."""
    values = to_numpy(logits)
    out = np.zeros(values.shape)
    for i in range(values.shape[0]):
        row, column = place(i, grid)
        allowed = [
            j
            for j in range(values.shape[1])
            if abs(place(j, grid)[0] - row) <= radius and abs(place(j, grid)[1] - column) <= radius
        ]
        shares = softmax([float(values[i, j]) for j in allowed])
        for j, share in zip(allowed, shares, strict=True):
            out[i, j] = share
    return out


def sampling(points: Sequence[tuple[float, float]], grid: tuple[int, int]) -> Array:
    """Bilinear sampling at (row, column) points in patch units, clamped to the border."""
    rows, columns = grid
    out = np.zeros((len(points), rows * columns))
    for i, (y, x) in enumerate(points):
        y = min(max(y, 0.0), rows - 1.0)
        x = min(max(x, 0.0), columns - 1.0)
        top, left = math.floor(y), math.floor(x)
        for row, share_y in ((top, 1.0 - (y - top)), (top + 1, y - top)):
            for column, share_x in ((left, 1.0 - (x - left)), (left + 1, x - left)):
                if share_y * share_x > 0.0:
                    out[i, row * columns + column] += share_y * share_x
    return out


def affine_points(
    theta: object, grid: tuple[int, int], *, normalised: bool
) -> list[tuple[float, float]]:
    """Where six numbers ``[[a, b, tx], [c, d, ty]]`` on (x, y) send each patch.

    The origin is the middle of the grid. ``normalised``: half the *span between the
    outermost patch centres* is the unit of each axis (corner patches lie at +-1); otherwise
    the unit is one patch.
    """
    matrix = to_numpy(theta).reshape(2, 3)
    rows, columns = grid
    middle_y, middle_x = (rows - 1) / 2, (columns - 1) / 2
    unit_y, unit_x = (middle_y or 1.0, middle_x or 1.0) if normalised else (1.0, 1.0)
    points = []
    for index in range(rows * columns):
        row, column = place(index, grid)
        x, y = (column - middle_x) / unit_x, (row - middle_y) / unit_y
        new_x = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
        new_y = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
        points.append((new_y * unit_y + middle_y, new_x * unit_x + middle_x))
    return points


def affine(theta: object, grid: tuple[int, int], *, normalised: bool) -> Array:
    """The correspondence of one affine warp."""
    return sampling(affine_points(theta, grid, normalised=normalised), grid)


def match_features(first: object, second: object, scale: float) -> Array:
    """``scale * <first_i, second_j>``: the logits of a learned correspondence."""
    a, b = to_numpy(first), to_numpy(second)
    out = np.zeros((a.shape[0], b.shape[0]))
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            out[i, j] = scale * sum(a[i, c] * b[j, c] for c in range(a.shape[1]))
    return out
