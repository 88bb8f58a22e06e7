"""The block of the image transformer against loops, and its three slots."""

import numpy as np
import pytest
import torch
from torch import nn

from amflow_mm.models.layers import TransformerBlock
from amflow_mm.testing import fixed_init_, fixed_tensor
from tests.reference.basics import to_numpy, weights_of
from tests.reference.vit import block as block_by_loops

B, T, GRID, C, HEADS, HIDDEN = 2, 3, (2, 3), 10, 5, 11
N = 1 + GRID[0] * GRID[1]
LAYOUTS = {
    "clip": {"activation": "quick_gelu", "norm_eps": 1e-5},
    "dinov2": {"layer_scale": True},
    "dinov2 gated": {"layer_scale": True, "gated_mlp": True},
    "timm": {},
}


def make(layout="timm", **options):
    return fixed_init_(TransformerBlock(C, HEADS, HIDDEN, **LAYOUTS[layout], **options))


def neutral_names(block):
    """Weights under the names of the oracle."""
    names = {"attn.": "", "mlp.": "", ".gamma": ""}
    out = {}
    for key, value in weights_of(block).items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        out[key] = value
    return out


class Recorder(nn.Module):
    """Return a fixed multiple of the first argument and remember all of them."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor
        self.seen = []

    def forward(self, *arguments):
        self.seen.append(arguments)
        return self.factor * arguments[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_block_equals_the_loops(layout):
    module = make(layout)
    x = fixed_tensor((B, T, N, C))
    found, w = module(x, GRID)
    assert w is None
    options = LAYOUTS[layout]
    for b, t in np.ndindex(B, T):
        expected = block_by_loops(
            to_numpy(x[b, t]),
            neutral_names(module),
            num_heads=HEADS,
            activation=options.get("activation", "gelu"),
            eps=options.get("norm_eps", 1e-6),
        )
        np.testing.assert_allclose(to_numpy(found[b, t]), expected, rtol=1e-5, atol=2e-5)


def test_frames_do_not_see_each_other():
    module, x = make(), fixed_tensor((B, T, N, C))
    before, _ = module(x, GRID)
    x[:, 1] = 0
    after, _ = module(x, GRID)
    torch.testing.assert_close(after[:, 0], before[:, 0])
    torch.testing.assert_close(after[:, 2], before[:, 2])


def test_the_attention_gets_sequences_of_single_frames(monkeypatch):
    shapes = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def spy(q, k, v):
        shapes.append(tuple(q.shape))
        return fused(q, k, v)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    make()(fixed_tensor((B, T, N, C)), GRID)
    assert shapes == [(B * T, HEADS, N, C // HEADS)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_slots_that_add_zero_leave_the_block_alone_to_the_bit(layout):
    module, x = make(layout), fixed_tensor((B, T, N, C))
    plain, _ = module(x, GRID)
    module.before_attention = Recorder(0.0)
    module.after_attention = Recorder(0.0)
    module.beside_mlp = Recorder(0.0)
    filled, _ = module(x, GRID)
    assert torch.equal(filled, plain)


def test_the_slot_before_the_attention_is_residual_on_the_input():
    module, x = make(), fixed_tensor((B, T, N, C))
    expected, _ = module(1.5 * x, GRID)
    module.before_attention = Recorder(0.5)
    found, _ = module(x, GRID)
    torch.testing.assert_close(found, expected)
    assert torch.equal(module.before_attention.seen[0][0], x)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_slot_after_the_attention_is_residual_on_its_output(layout):
    # A slot that returns its input doubles the attention branch: so does a doubled projection.
    module, x = make(layout), fixed_tensor((B, T, N, C))
    module.after_attention = Recorder(1.0)
    found, _ = module(x, GRID)
    module.after_attention = None
    with torch.no_grad():
        module.attn.proj.weight *= 2
        module.attn.proj.bias *= 2
    torch.testing.assert_close(found, module(x, GRID)[0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_slot_beside_the_mlp_reads_the_normed_tokens(layout):
    module, x = make(layout), fixed_tensor((B, T, N, C))
    plain, _ = module(x, GRID)
    module.beside_mlp = Recorder(1.0)
    found, _ = module(x, GRID)
    (normed,) = module.beside_mlp.seen[0]
    torch.testing.assert_close(found, plain + normed)
    attended = module.ls1(module.attn(module.norm1(x).flatten(0, 1))[0].unflatten(0, (B, T)))
    torch.testing.assert_close(normed, module.norm2(x + attended))


def test_the_flow_is_asked_between_attention_and_adapter():
    module, x = make(), fixed_tensor((B, T, N, C))
    module.after_attention = Recorder(0.1)
    asked = []

    def flow(q, k, tokens, layer, grid):
        asked.append((q, k, tokens, layer, grid))
        return 2 * torch.ones(B, T, N - 1)

    _, w = module(x, GRID, flow, 7)
    (((q, k, tokens, layer, grid)),) = asked
    assert torch.equal(w, 2 * torch.ones(B, T, N - 1))
    assert torch.equal(tokens, x)
    assert (layer, grid) == (7, GRID)
    _, expected_q, expected_k = module.attn(module.norm1(x).flatten(0, 1))
    assert torch.equal(q, expected_q.unflatten(0, (B, T)))
    assert torch.equal(k, expected_k.unflatten(0, (B, T)))
    attended, received, received_grid = module.after_attention.seen[0]
    assert received is w
    assert received_grid == GRID
    torch.testing.assert_close(
        attended, module.attn(module.norm1(x).flatten(0, 1))[0].unflatten(0, (B, T))
    )


def test_the_flow_is_measured_on_tokens_that_the_first_slot_has_changed():
    module, x = make(), fixed_tensor((B, T, N, C))
    module.before_attention = Recorder(0.5)
    asked = []

    def flow(q, k, tokens, layer, grid):
        asked.append(tokens)
        return torch.ones(B, T, N - 1)

    module(x, GRID, flow)
    torch.testing.assert_close(asked[0], 1.5 * x)


def test_stochastic_depth_drops_both_branches_of_whole_clips():
    module = make(drop_prob=0.5)
    x = fixed_tensor((1, T, N, C)).expand(64, -1, -1, -1)
    out, _ = module(x, GRID)
    change = (out - x).abs().amax(dim=(1, 2, 3))
    untouched = (change == 0).sum().item()
    assert 4 < untouched < 32  # a quarter of 64 on average loses both branches
    frames = (out - x).abs().amax(dim=(2, 3)) == 0
    assert (frames.all(dim=1) | ~frames.any(dim=1)).all(), "frames of a clip must agree"
    module.eval()
    evaluated, _ = module(x, GRID)
    torch.testing.assert_close(evaluated, make()(x, GRID)[0])
