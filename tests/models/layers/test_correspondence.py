"""Correspondences against loops: identity, pans, borders, windows, warped maps."""

import numpy as np
import pytest
import torch

from amflow_mm.models.layers import (
    affine_correspondence,
    patch_centres,
    warp_map,
    window_mask,
)
from amflow_mm.models.layers.correspondence import Taps, affine_taps, carry, dense
from amflow_mm.testing import fixed_tensor
from tests.reference import correspondence as oracle
from tests.reference.attention_flow import warp_map as warp_map_by_loops
from tests.reference.basics import to_numpy

GRIDS = [(3, 5), (5, 3), (4, 4), (1, 7), (2, 1)]
IDENTITY = torch.eye(2, 3)


def theta_of(a=1.0, b=0.0, tx=0.0, c=0.0, d=1.0, ty=0.0):
    return torch.tensor([[a, b, tx], [c, d, ty]])


@pytest.mark.parametrize("grid", GRIDS)
def test_affine_equals_bilinear_sampling_by_loops(grid):
    thetas = IDENTITY + fixed_tensor((2, 3, 2, 3), tag="theta", scale=0.5).double()
    found = affine_correspondence(thetas, grid)
    assert found.shape == (2, 3, grid[0] * grid[1], grid[0] * grid[1])
    for index in np.ndindex(2, 3):
        expected = oracle.affine(thetas[index], grid, normalised=False)
        np.testing.assert_allclose(to_numpy(found[index]), expected, atol=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
def test_the_identity_is_the_identity_matrix(grid):
    assert torch.equal(affine_correspondence(IDENTITY, grid), torch.eye(grid[0] * grid[1]))


@pytest.mark.parametrize("grid", GRIDS)
def test_rows_are_distributions_however_wild_the_warp(grid):
    thetas = fixed_tensor((11, 2, 3), tag="wild", scale=20.0)
    matrices = affine_correspondence(thetas, grid)
    assert matrices.min() >= 0
    torch.testing.assert_close(matrices.sum(dim=-1), torch.ones(matrices.shape[:-1]))


def test_a_translation_of_one_is_a_pan_by_one_patch_clamped_at_the_border():
    right = affine_correspondence(theta_of(tx=1.0), (2, 3))
    assert right.argmax(dim=-1).tolist() == [1, 2, 2, 4, 5, 5]
    assert torch.equal(right.max(dim=-1).values, torch.ones(6))
    down = affine_correspondence(theta_of(ty=1.0), (2, 3))
    assert down.argmax(dim=-1).tolist() == [3, 4, 5, 3, 4, 5]


def test_half_a_patch_is_shared_by_two_neighbours():
    matrix = affine_correspondence(theta_of(tx=0.5), (1, 3))
    assert matrix.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]]


def test_a_quarter_turn_of_a_square_grid_is_a_permutation():
    turn = theta_of(a=0.0, b=-1.0, c=1.0, d=0.0)
    matrix = affine_correspondence(turn, (3, 3))
    image = torch.arange(9.0)
    # The patch at (x, y) is found at (-y, x): sampling turns the picture the other way.
    assert torch.equal((matrix @ image).view(3, 3), torch.rot90(image.view(3, 3), 1))


def test_the_gradient_of_the_six_numbers_is_that_of_finite_differences():
    theta = (IDENTITY + 0.1 * fixed_tensor((2, 3), tag="theta")).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: affine_correspondence(x, (3, 4)), theta)


def test_gradient_leaves_the_identity():
    theta = IDENTITY.clone().requires_grad_()
    matrix = affine_correspondence(theta, (3, 4))
    (matrix * fixed_tensor(matrix.shape, tag="loss")).sum().backward()
    assert (theta.grad != 0).all()


def test_patches_are_numbered_row_by_row_from_the_centre():
    centres = patch_centres((2, 3))
    assert centres.tolist() == [
        [-1.0, -0.5],
        [0.0, -0.5],
        [1.0, -0.5],
        [-1.0, 0.5],
        [0.0, 0.5],
        [1.0, 0.5],
    ]
    assert patch_centres((2, 3), dtype=torch.float64).dtype == torch.float64


@pytest.mark.parametrize("radius", [0, 1, 2, 9])
@pytest.mark.parametrize("grid", GRIDS)
def test_the_window_is_that_of_the_loops(grid, radius):
    num_patches = grid[0] * grid[1]
    by_loops = oracle.window(np.zeros((num_patches, num_patches)), grid, radius) > 0
    assert np.array_equal(window_mask(grid, radius, torch.device("cpu")).numpy(), by_loops)


def test_both_axes_of_a_map_are_warped():
    maps = fixed_tensor((2, 3, 7, 7), tag="maps", dtype=torch.float64)
    matrices = fixed_tensor((2, 1, 7, 7), tag="warp", dtype=torch.float64).softmax(dim=-1)
    found = warp_map(maps, matrices)
    for b, h in np.ndindex(2, 3):
        expected = warp_map_by_loops(to_numpy(maps[b, h]), to_numpy(matrices[b, 0]))
        np.testing.assert_allclose(to_numpy(found[b, h]), expected, atol=1e-12)


def test_a_permuted_map_is_restored_to_the_bit():
    attention = fixed_tensor((5, 5), tag="map").softmax(dim=-1)
    order = [3, 0, 4, 1, 2]
    moved = torch.empty_like(attention)
    for i, j in np.ndindex(5, 5):
        moved[order[i], order[j]] = attention[i, j]
    assert not torch.equal(moved, attention)
    matrix = torch.from_numpy(oracle.permutation(order)).float()
    assert torch.equal(warp_map(moved, matrix), attention)


def test_a_warped_map_of_a_row_stochastic_matrix_stays_row_stochastic():
    attention = fixed_tensor((7, 7), tag="map").softmax(dim=-1)
    matrix = torch.from_numpy(oracle.permutation([6, 0, 1, 2, 3, 4, 5])).float()
    torch.testing.assert_close(warp_map(attention, matrix).sum(dim=-1), torch.ones(7))


# ---------------------------------------------------------------- taps


def thetas_of(kind):
    """Warps at which taps and matrix might differ: on patches, between them, off the grid."""
    if kind == "general":
        return (IDENTITY + fixed_tensor((2, 3, 2, 3), tag="theta", scale=0.3)).double()
    shift = {"identity": 0.0, "whole": 1.0, "half": 0.5, "outside": 40.0}[kind]
    return (IDENTITY + torch.tensor([[0, 0, shift], [0, 0, -shift]])).double().expand(2, 3, 2, 3)


KINDS = ("general", "identity", "whole", "half", "outside")


def hat_matrix(theta, grid):
    """Bilinear sampling by a hat over every row and column of the grid: all P x P entries."""
    found = patch_centres(grid, dtype=theta.dtype) @ theta[..., :2].mT + theta[..., None, :, 2]
    axes = []
    for axis, length in ((1, grid[0]), (0, grid[1])):
        position = (found[..., axis] + (length - 1) / 2).clamp(0, length - 1)
        points = torch.arange(length, dtype=theta.dtype)
        axes.append((1 - (position[..., None] - points).abs()).clamp_min(0))
    return (axes[0][..., :, None] * axes[1][..., None, :]).flatten(-2)


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", GRIDS)
def test_taps_are_the_hat_matrix_and_have_its_gradient(grid, kind, trained):
    results = []
    for make in (affine_correspondence, hat_matrix):
        theta = thetas_of(kind).clone().requires_grad_(trained)
        matrix = make(theta, grid)
        if trained:
            (matrix * fixed_tensor(matrix.shape, tag="loss", dtype=matrix.dtype)).sum().backward()
        results.append((matrix.detach(), theta.grad))
    assert torch.equal(results[0][0], results[1][0])
    if trained:
        torch.testing.assert_close(results[0][1], results[1][1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", GRIDS)
def test_four_taps_are_kept_and_nine_for_gradient(grid, kind):
    num_patches = grid[0] * grid[1]
    fixed, trained = (
        affine_taps(thetas_of(kind), grid),
        affine_taps(thetas_of(kind).clone().requires_grad_(), grid),
    )
    assert fixed.index.shape == fixed.weight.shape == (2, 3, num_patches, 4)
    assert trained.index.shape == (2, 3, num_patches, 9)
    for taps in (fixed, trained):
        assert 0 <= taps.index.min() <= taps.index.max() < num_patches
    assert torch.equal(fixed.dense(), trained.dense())
    assert torch.equal(dense(fixed), fixed.dense())
    assert torch.equal(dense(fixed.dense()), fixed.dense())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("map_gradient", [False, True])
@pytest.mark.parametrize("num_heads", [1, 3])
def test_a_map_warped_by_taps_is_the_one_warped_by_the_matrix(num_heads, map_gradient, kind):
    grid = (3, 4)
    results = []
    for make in (affine_taps, affine_correspondence):
        theta = thetas_of(kind)[:, :1].clone().requires_grad_()
        maps = fixed_tensor((2, num_heads, 12, 12), tag="maps", dtype=torch.float64)
        maps.requires_grad_(map_gradient)
        warped = warp_map(maps, make(theta, grid))
        (warped * fixed_tensor(warped.shape, tag="loss", dtype=warped.dtype)).sum().backward()
        results.append([warped.detach(), theta.grad, *([maps.grad] if map_gradient else [])])
    torch.testing.assert_close(*results)
    with torch.no_grad():
        fixed = warp_map(maps, affine_taps(thetas_of(kind)[:, :1], grid))
    torch.testing.assert_close(fixed, results[0][0])


def test_the_identity_as_taps_changes_no_bit():
    maps = fixed_tensor((2, 3, 12, 12), tag="maps")
    assert torch.equal(warp_map(maps, affine_taps(IDENTITY.expand(2, 1, 2, 3), (3, 4))), maps)


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_carried_by_taps_as_by_the_matrix(kind):
    values = fixed_tensor((2, 3, 12, 5), tag="values", dtype=torch.float64)
    results = []
    for make in (affine_taps, affine_correspondence):
        theta = thetas_of(kind).clone().requires_grad_()
        carried = carry(make(theta, (3, 4)), values)
        (carried * fixed_tensor(carried.shape, tag="loss", dtype=carried.dtype)).sum().backward()
        results.append((carried.detach(), theta.grad))
    torch.testing.assert_close(*results)


def test_the_gradient_through_taps_is_that_of_finite_differences():
    theta = (IDENTITY + 0.1 * fixed_tensor((2, 3), tag="theta")).double().requires_grad_()
    maps = fixed_tensor((6, 6), tag="maps", dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: warp_map(maps, affine_taps(x, (2, 3))), theta)


@pytest.mark.parametrize("trained", [False, True])
def test_a_warp_that_is_not_a_number_says_so(trained):
    theta = IDENTITY.clone()
    theta[0, 0] = torch.nan
    taps = affine_taps(theta.requires_grad_(trained), (3, 4))
    assert taps.weight.isnan().any(dim=-1).all()
    assert carry(taps, torch.ones(12, 5)).isnan().all()


def test_patches_named_twice_add_up():
    taps = Taps(torch.tensor([[0, 0], [1, 0]]), torch.tensor([[0.25, 0.75], [0.5, 0.5]]))
    assert taps.dense().tolist() == [[1.0, 0.0], [0.5, 0.5]]
    assert carry(taps, torch.tensor([[2.0], [4.0]])).tolist() == [[2.0], [3.0]]
