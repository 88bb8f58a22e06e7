"""The attention of the image transformer against explicit softmax loops."""

import numpy as np
import pytest
import torch

from amflow_mm.models.layers import Attention
from amflow_mm.testing import fixed_init_, fixed_tensor
from tests.reference.attention_flow import head_map
from tests.reference.basics import to_numpy, weights_of
from tests.reference.temporal_units import self_attention

SEQUENCES, TOKENS, HEADS, HEAD_DIM = 2, 7, 3, 5
WIDTH = HEADS * HEAD_DIM


def make(**options):
    module = fixed_init_(Attention(WIDTH, HEADS, **options))
    return module, fixed_tensor((SEQUENCES, TOKENS, WIDTH))


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_the_fused_kernel_equals_explicit_softmax(qkv_bias):
    module, x = make(qkv_bias=qkv_bias)
    assert ("qkv.bias" in module.state_dict()) == qkv_bias
    out, _, _ = module(x)
    for one, tokens in zip(out, x, strict=True):
        expected = self_attention(to_numpy(tokens), weights_of(module), HEADS)
        np.testing.assert_allclose(to_numpy(one), expected, rtol=1e-5, atol=1e-5)


def test_the_returned_queries_and_keys_are_unscaled_and_give_the_map():
    module, x = make()
    out, q, k = module(x)
    assert q.shape == k.shape == (SEQUENCES, HEADS, TOKENS, HEAD_DIM)
    v = module.qkv(x)[..., 2 * WIDTH :].unflatten(-1, (HEADS, HEAD_DIM)).transpose(1, 2)
    maps = np.array(
        [
            [head_map(to_numpy(q[f, h]), to_numpy(k[f, h]), "post") for h in range(HEADS)]
            for f in range(SEQUENCES)
        ]
    )
    mixed = torch.from_numpy(maps).float() @ v
    expected = module.proj(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


def test_the_kernel_gets_four_axes(monkeypatch):
    ranks = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def spy(q, k, v):
        ranks.extend(x.ndim for x in (q, k, v))
        return fused(q, k, v)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    module, x = make()
    module(x)
    assert ranks == [4, 4, 4]


def test_sequences_do_not_see_each_other():
    module, x = make()
    out, _, _ = module(x)
    x[1] = 0
    assert torch.equal(module(x)[0][0], out[0])


def test_heads_that_do_not_divide_the_width_raise():
    with pytest.raises(ValueError, match="num_heads=4 must divide embed_dim=15"):
        Attention(15, 4)
