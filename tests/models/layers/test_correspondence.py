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
