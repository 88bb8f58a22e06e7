"""Correspondences: row-stochastic P x P matrices that carry frame t+1 onto frame t.

Entry (i, j) says how much of patch j in frame t+1 shows what patch i showed in frame t.
Patches are numbered row by row on a ``grid = (rows, columns)``. A matrix whose rows are zero but
for a few entries, as those of an affine warp are, is kept as :class:`Taps`.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

Grid = tuple[int, int]


class Taps(NamedTuple):
    """A correspondence by the K entries of each row that may differ from zero.

    Attributes:
        index: Patches of frame t+1; one may occur twice, its weights then add up.
        weight: How much of each.
    """

    index: Int[Tensor, "*batch P K"]
    weight: Float[Tensor, "*batch P K"]

    def dense(self) -> Float[Tensor, "*batch P P"]:
        """Write the matrix out."""
        num_patches = self.index.shape[-2]
        zeros = self.weight.new_zeros(*self.weight.shape[:-1], num_patches)
        return zeros.scatter_add(-1, self.index, self.weight)


Correspondence = Tensor | Taps


def dense(correspondence: Correspondence) -> Float[Tensor, "*batch P P"]:
    """Return a correspondence as a matrix."""
    return correspondence.dense() if isinstance(correspondence, Taps) else correspondence


def carry(
    correspondence: Correspondence, values: Float[Tensor, "*batch P C"]
) -> Float[Tensor, "*batch P C"]:
    """Bring what frame t+1 has at its patches to the patches of frame t, ``P X``.

    Taps are gathered and added in one operation; no matrix and no copy per tap is made.
    """
    if not isinstance(correspondence, Taps):
        return correspondence.to(values.dtype) @ values
    shape = (*values.shape[:-1], correspondence.index.shape[-1])
    index = correspondence.index.expand(shape).reshape(-1, *shape[-2:])
    first_rows = torch.arange(index.shape[0], device=index.device) * shape[-2]
    carried = F.embedding_bag(
        (index + first_rows[:, None, None]).flatten(0, 1),
        values.reshape(-1, values.shape[-1]),
        per_sample_weights=correspondence.weight.to(values.dtype).expand(shape).flatten(0, -2),
        mode="sum",
    )
    return carried.view(values.shape)


def warp_map(
    attention_map: Float[Tensor, "*batch P P"], correspondence: Correspondence
) -> Float[Tensor, "*batch P P"]:
    """Register a map of frame t+1 with frame t: both of its axes are warped, ``P A P^T``."""
    if not isinstance(correspondence, Taps):
        return correspondence @ attention_map @ correspondence.transpose(-1, -2)
    if attention_map.requires_grad or not correspondence.weight.requires_grad:
        rows = carry(correspondence, attention_map)
        return carry(correspondence, rows.transpose(-1, -2)).transpose(-1, -2)
    # Product rule: each factor is varied once against a constant other. The gradient of the
    # weights is then made of dot products; back through two gathers it would be scattered.
    constant = Taps(correspondence.index, correspondence.weight.detach())
    rows = carry(constant, attention_map)
    columns = carry(constant, attention_map.transpose(-1, -2)).transpose(-1, -2)
    warped = carry(correspondence, rows.transpose(-1, -2)).transpose(-1, -2)
    again = carry(correspondence, columns)
    return warped + (again - again.detach())


def patch_centres(
    grid: Grid, *, device: torch.device | None = None, dtype: torch.dtype | None = None
) -> Float[Tensor, "P 2"]:
    """Return (x, y) of each patch in patch units, measured from the centre of the image."""
    rows, columns = grid
    y = torch.arange(rows, device=device, dtype=dtype or torch.float32) - (rows - 1) / 2
    x = torch.arange(columns, device=device, dtype=dtype or torch.float32) - (columns - 1) / 2
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=-1)


def affine_taps(theta: Float[Tensor, "*batch 2 3"], grid: Grid) -> Taps:
    """Turn six numbers per frame pair into bilinear sampling.

    The patch at (x, y) of frame t is found in frame t+1 at ``theta @ (x, y, 1)``, in patch
    units from the image centre, so that a pan by one patch is a translation of 1 and a
    rotation is one on oblong grids too. Positions outside the grid are clamped to its border,
    which keeps every row a distribution.

    Four taps suffice. Where ``theta`` asks for gradient there are nine: a patch found exactly on
    another, as all are at the identity, is drawn to its neighbours on both sides.
    """
    rows, columns = grid
    centres = patch_centres(grid, device=theta.device, dtype=theta.dtype)
    found = centres @ theta[..., :2].transpose(-1, -2) + theta[..., None, :, 2]
    column, weight_x = _axis_taps(found[..., 0] + (columns - 1) / 2, columns)
    row, weight_y = _axis_taps(found[..., 1] + (rows - 1) / 2, rows)
    index = row[..., :, None] * columns + column[..., None, :]
    return Taps(index.flatten(-2), (weight_y[..., :, None] * weight_x[..., None, :]).flatten(-2))


def affine_correspondence(
    theta: Float[Tensor, "*batch 2 3"], grid: Grid
) -> Float[Tensor, "*batch P P"]:
    """Return :func:`affine_taps` as a matrix."""
    return affine_taps(theta, grid).dense()


def window_mask(grid: Grid, radius: int, device: torch.device) -> Bool[Tensor, "P P"]:
    """Tell which patches lie within ``radius`` rows and columns of each other."""
    centres = patch_centres(grid, device=device)
    distance = (centres[:, None] - centres[None]).abs().amax(dim=-1)
    return distance <= radius


def _axis_taps(
    position: Float[Tensor, "*batch P"], length: int
) -> tuple[Int[Tensor, "*batch P K"], Float[Tensor, "*batch P K"]]:
    """Points and weights of linear interpolation at ``position`` on 0 ... length - 1."""
    clamped = position.clamp(0, length - 1)[..., None]
    if clamped.requires_grad:
        points = clamped.detach().round() + torch.arange(-1, 2, device=position.device)
    else:
        points = clamped.floor() + torch.arange(2, device=position.device)
    weight = (1 - (clamped - points).abs()).clamp_min(0)
    inside = points.clamp(0, length - 1)
    # A position that is not a number keeps its weight, which says so, and a place to point to.
    return inside.nan_to_num(0).long(), weight.masked_fill((points - inside).abs() > 0, 0)
