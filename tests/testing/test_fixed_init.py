"""Weights without a generator: the same everywhere, for ever, and never degenerate."""

import pytest
import torch
from torch import nn

from amflow_mm.models.layers import Attention, LayerScale, LSTMUnit, TokenEmbedding
from amflow_mm.testing import fixed_init_, fixed_tensor


def test_the_numbers_never_change():
    # Exact: integers hashed and cut to 24 bits, then one multiplication in double precision.
    found = fixed_tensor((2, 2), tag="x", scale=3.0**-0.5, dtype=torch.float64) * 2**23
    expected = [[-4188546, -1134796], [1295323, -4605247]]
    assert found.round().long().tolist() == expected


def test_moments_are_those_promised():
    x = fixed_tensor((200, 300), scale=2.0)
    assert abs(x.mean().item()) < 0.03
    assert abs(x.std().item() - 2) < 0.03


def test_matrices_are_of_full_rank_and_tags_are_independent():
    a, b = fixed_tensor((40, 40), tag="a"), fixed_tensor((40, 40), tag="b")
    assert torch.linalg.matrix_rank(a) == 40
    both = torch.stack([a.flatten(), b.flatten()])
    assert torch.corrcoef(both)[0, 1].abs() < 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_type_is_that_asked_for(dtype):
    assert fixed_tensor((3,), dtype=dtype).dtype == dtype


def test_no_generator_is_used():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    module = nn.Linear(3, 2)
    torch.set_rng_state(before)
    fixed_init_(module)
    fixed_tensor((3,))
    assert torch.equal(torch.get_rng_state(), before)


def test_two_modules_of_one_shape_are_filled_alike():
    torch.manual_seed(1)
    first = fixed_init_(Attention(6, 2))
    torch.manual_seed(2)
    second = fixed_init_(Attention(6, 2))
    assert all(
        torch.equal(first.state_dict()[name], value) for name, value in second.state_dict().items()
    )


def test_the_module_is_filled_in_place_and_returned():
    module = nn.Linear(3, 2)
    weight = module.weight
    assert fixed_init_(module) is module
    assert module.weight is weight
    assert weight.requires_grad


def test_no_parameter_is_zero_one_or_constant():
    module = nn.ModuleDict(
        {
            "embedding": TokenEmbedding(6, 4, (2, 3), num_registers=2),
            "attention": Attention(6, 2),
            "scale": LayerScale(6),
            "norm": nn.LayerNorm(6),
            "unit": LSTMUnit(6),
        }
    )
    for name, value in fixed_init_(module).named_parameters():
        assert value.detach().std() > 0.02, name
        assert (value != 0).all(), name


def test_magnitudes_follow_the_role():
    module = fixed_init_(nn.Sequential(nn.Linear(100, 50), nn.LayerNorm(50), LayerScale(50)))
    assert abs(module[0].weight.std().item() - 0.15) < 0.01
    for scale in (module[1].weight, module[2].gamma):
        assert 0.8 <= scale.min() < scale.max() <= 1.2
    assert -0.2 <= module[1].bias.min() < module[1].bias.max() <= 0.2


def test_the_attention_of_filled_weights_is_neither_flat_nor_one_hot():
    _, q, k = fixed_init_(Attention(60, 3))(fixed_tensor((1, 17, 60)))
    weights = (q @ k.transpose(-1, -2) / 20**0.5).softmax(dim=-1)
    entropy = -(weights * weights.log()).sum(dim=-1).mean()
    assert 2 < entropy.exp() < 12  # of 17


def test_the_gain_scales_matrices_only():
    plain, doubled = (
        fixed_init_(nn.Linear(3, 2), scale=1.0),
        fixed_init_(nn.Linear(3, 2), scale=2.0),
    )
    torch.testing.assert_close(doubled.weight, 2 * plain.weight)
    assert torch.equal(doubled.bias, plain.bias)


class WithBuffers(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(5)
        self.register_buffer("coordinates", torch.arange(5.0), persistent=False)


def test_saved_float_buffers_are_filled_and_the_others_left_alone():
    module = fixed_init_(WithBuffers())
    assert module.norm.running_var.min() > 0.5
    assert module.norm.running_mean.abs().min() > 0
    assert module.norm.num_batches_tracked == 0
    assert torch.equal(module.coordinates, torch.arange(5.0))
