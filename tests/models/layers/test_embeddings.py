"""Tokens before the first block: patches, positions, prefix tokens."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from amflow_mm.models.layers import PatchEmbed, TokenEmbedding, resample_position_grid
from amflow_mm.testing import fixed_init_, fixed_tensor
from tests.reference.basics import to_numpy, weights_of
from tests.reference.vit import embed

FRAMES, C, PATCH, GRID = 2, 7, 4, (3, 5)


def frames_of(grid=GRID):
    return fixed_tensor((FRAMES, 3, PATCH * grid[0], PATCH * grid[1]), tag="frames")


def neutral_names(module):
    """Weights under the names of the oracle."""
    weights = weights_of(module)
    out = {
        "patch.weight": weights["patch_embed.proj.weight"],
        "cls": weights["cls_token"],
        "position": np.concatenate([weights["cls_position"], weights["patch_position"]], axis=1),
    }
    if "patch_embed.proj.bias" in weights:
        out["patch.bias"] = weights["patch_embed.proj.bias"]
    if "registers" in weights:
        out["registers"] = weights["registers"]
    return out


@pytest.mark.parametrize("patch_bias", [True, False])
@pytest.mark.parametrize("num_registers", [0, 4])
def test_the_tokens_equal_the_loops(num_registers, patch_bias):
    module = fixed_init_(
        TokenEmbedding(C, PATCH, GRID, num_registers=num_registers, patch_bias=patch_bias)
    )
    assert module.num_prefix_tokens == 1 + num_registers
    frames = frames_of()
    found = module(frames)
    for one, frame in zip(found, frames, strict=True):
        expected = embed(to_numpy(frame), neutral_names(module))
        np.testing.assert_allclose(to_numpy(one), expected, rtol=1e-5, atol=1e-5)


def test_positions_are_resampled_for_frames_of_another_size():
    module = fixed_init_(TokenEmbedding(C, PATCH, GRID))
    frames = frames_of((6, 2))
    found = module(frames)
    positions = resample_position_grid(module.patch_position, GRID, (6, 2))
    torch.testing.assert_close(found[:, 1:], module.patch_embed(frames) + positions)
    assert found.shape == (FRAMES, 13, C)


def test_resampling_to_the_same_grid_returns_the_positions():
    positions = fixed_tensor((1, 15, C))
    assert resample_position_grid(positions, GRID, GRID, offset=0.1, antialias=True) is positions


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("offset", [0.0, 0.1])
@pytest.mark.parametrize("target", [(3, 7), (6, 5), (2, 4), (9, 11)])
def test_resampling_keeps_rows_rows_and_columns_columns(target, offset, antialias):
    rows, columns = (torch.arange(n, dtype=torch.float32) for n in GRID)
    ramp = torch.stack([rows[:, None].expand(GRID), columns.expand(GRID), torch.ones(GRID)], dim=-1)
    found = resample_position_grid(
        ramp.reshape(1, -1, 3), GRID, target, offset=offset, antialias=antialias
    )
    assert found.shape == (1, target[0] * target[1], 3)
    image = found[0].unflatten(0, target)
    torch.testing.assert_close(image[..., 0], image[:, :1, 0].expand(target))
    torch.testing.assert_close(image[..., 1], image[:1, :, 1].expand(target))
    assert (image[..., 0].diff(dim=0) > 0).all()
    assert (image[..., 1].diff(dim=1) > 0).all()
    torch.testing.assert_close(image[..., 2], torch.ones(target))


def test_the_offset_is_that_of_the_released_dinov2_code():
    # There: interpolate(scale_factor=((w0 + 0.1) / M, (h0 + 0.1) / M), mode="bicubic").
    positions = fixed_tensor((1, 25, C))
    found = resample_position_grid(positions, (5, 5), (3, 4), offset=0.1)
    image = positions.reshape(1, 5, 5, C).permute(0, 3, 1, 2)
    expected = F.interpolate(image, scale_factor=(3.1 / 5, 4.1 / 5), mode="bicubic")
    assert expected.shape[-2:] == (3, 4)
    torch.testing.assert_close(found, expected.permute(0, 2, 3, 1).reshape(1, 12, C))
    assert not torch.allclose(found, resample_position_grid(positions, (5, 5), (3, 4)))


def test_half_precision_positions_stay_in_half_precision():
    positions = fixed_tensor((1, 15, C), dtype=torch.bfloat16)
    assert resample_position_grid(positions, GRID, (4, 4)).dtype == torch.bfloat16


def test_registers_come_after_cls_and_have_no_position():
    module = fixed_init_(TokenEmbedding(C, PATCH, GRID, num_registers=2))
    found = module(frames_of())
    expected = torch.cat([module.cls_token + module.cls_position, module.registers], dim=1)
    torch.testing.assert_close(found[:, :3], expected.expand(FRAMES, -1, -1))


def test_a_size_that_the_patches_do_not_divide_raises():
    module = PatchEmbed(PATCH, C)
    with pytest.raises(ValueError, match="frame size 12x18 must be a multiple of patch_size=4"):
        module(fixed_tensor((1, 3, 12, 18)))
    assert module.grid(12, 20) == GRID
