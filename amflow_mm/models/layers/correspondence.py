"""Correspondences: row-stochastic P x P matrices that carry frame t+1 onto frame t.

Entry (i, j) says how much of patch j in frame t+1 shows what patch i showed in frame t.
Patches are numbered row by row on a ``grid = (rows, columns)``.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Grid = tuple[int, int]


def warp_map(
    attention_map: Float[Tensor, "*batch P P"], correspondence: Float[Tensor, "*#batch P P"]
) -> Float[Tensor, "*batch P P"]:
    """Register a map of frame t+1 with frame t: both of its axes are warped, ``P A P^T``."""
    return correspondence @ attention_map @ correspondence.transpose(-1, -2)


def patch_centres(
    grid: Grid, *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Float[Tensor, "P 2"]:
    """Return (x, y) of each patch in patch units, measured from the centre of the image."""
    rows, columns = grid
    y = torch.arange(rows, device=device, dtype=dtype or torch.float32) - (rows - 1) / 2
    x = torch.arange(columns, device=device, dtype=dtype or torch.float32) - (columns - 1) / 2
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=-1)


def affine_correspondence(
    theta: Float[Tensor, "*batch 2 3"], grid: Grid
) -> Float[Tensor, "*batch P P"]:
    """Turn six numbers per frame pair into a bilinear sampling matrix.

    The patch at (x, y) of frame t is found in frame t+1 at ``theta @ (x, y, 1)``, in patch
    units from the image centre, so that a pan by one patch is a translation of 1 and a
    rotation is one on oblong grids too. Positions outside the grid are clamped to its border,
    which keeps every row a distribution.
    """
    rows, columns = grid
    centres = patch_centres(grid, device=theta.device, dtype=theta.dtype)
    found = centres @ theta[..., :2].transpose(-1, -2) + theta[..., None, :, 2]
    weight_x = _hat_weights(found[..., 0] + (columns - 1) / 2, columns)
    weight_y = _hat_weights(found[..., 1] + (rows - 1) / 2, rows)
    return (weight_y[..., :, None] * weight_x[..., None, :]).flatten(-2)


def window_mask(grid: Grid, radius: int, device: torch.device) -> Bool[Tensor, "P P"]:
    """Tell which patches lie within ``radius`` rows and columns of each other."""
    centres = patch_centres(grid, device=device)
    distance = (centres[:, None] - centres[None]).abs().amax(dim=-1)
    return distance <= radius


def _hat_weights(
    position: Float[Tensor, "*batch P"], length: int
) -> Float[Tensor, "*batch P length"]:
    """Weights of linear interpolation at ``position`` on the points 0 ... length - 1."""
    points = torch.arange(length, device=position.device, dtype=position.dtype)
    clamped = position.clamp(0, length - 1)
    return (1 - (clamped[..., None] - points).abs()).clamp_min(0)
