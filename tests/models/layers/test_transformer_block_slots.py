"""The slots over time and before the MLP; ``test_transformer_block.py`` has the others."""

import pytest
import torch
from torch import nn

from amflow_mm.models.layers import TransformerBlock
from amflow_mm.testing import fixed_init_, fixed_tensor

B, T, GRID, C, HEADS, HIDDEN = 2, 3, (2, 3), 10, 5, 11
N = 1 + GRID[0] * GRID[1]
LAYOUTS = pytest.mark.parametrize("layout", [{}, {"layer_scale": True}], ids=["timm", "dinov2"])


def make(**options):
    return fixed_init_(TransformerBlock(C, HEADS, HIDDEN, **options))


class Returning(nn.Module):
    """Return what a function makes of the arguments."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *arguments):
        return self.function(*arguments)


@LAYOUTS
def test_slots_that_add_zero_leave_the_block_alone_to_the_bit(layout):
    module, x = make(**layout), fixed_tensor((B, T, N, C))
    plain, _ = module(x, GRID)
    module.before_mlp = Returning(lambda x, grid: 0 * x)
    module.over_time = Returning(lambda h, attend: 0 * attend(h))
    assert torch.equal(module(x, GRID)[0], plain)


@LAYOUTS
def test_the_slot_before_the_mlp_is_residual_on_the_tokens(layout):
    module, x = make(**layout), fixed_tensor((B, T, N, C))
    seen = []
    module.before_mlp = Returning(lambda x, grid: seen.append((x, grid)) or 0.5 * x)
    found, _ = module(x, GRID)
    ((tokens, grid),) = seen
    attended = module.ls1(module.attn(module.norm1(x).flatten(0, 1))[0].unflatten(0, (B, T)))
    assert grid == GRID
    torch.testing.assert_close(tokens, x + attended)
    expected = 1.5 * tokens + module.ls2(module.mlp(module.norm2(1.5 * tokens)))
    torch.testing.assert_close(found, expected)


@LAYOUTS
def test_the_slot_over_time_gets_the_blocks_own_attention(layout):
    module, x = make(**layout), fixed_tensor((B, T, N, C))
    seen = []
    module.over_time = Returning(lambda h, attend: seen.append((h, attend(h))) or 2 * attend(h))
    found, _ = module(x, GRID)
    ((h, attended),) = seen
    assert torch.equal(h, module.norm1(x))
    for b in range(B):
        for n in range(N):
            alone = module.ls1(module.attn(h[b, :, n].unsqueeze(0))[0][0])
            torch.testing.assert_close(attended[b, :, n], alone)
    module.over_time = None
    torch.testing.assert_close(found, module(x + 2 * attended, GRID)[0])


def test_what_stands_before_the_attention_comes_before_the_slot_over_time():
    module, x = make(), fixed_tensor((B, T, N, C))
    seen = []
    module.before_attention = Returning(lambda x, grid: 0.5 * x)
    module.over_time = Returning(lambda h, attend: seen.append(h) or 0 * h)
    module(x, GRID)
    torch.testing.assert_close(seen[0], module.norm1(1.5 * x))
