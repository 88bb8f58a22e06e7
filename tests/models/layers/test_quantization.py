"""Tokens in a byte: how far off they are, channel by channel."""

import pytest
import torch

from amflow_mm.models.layers import dequantize_channels, quantize_channels

SHAPE = (2, 3, 4, 5, 6, 7)  # views L T rows columns C
HALF_ROUNDING = 2.0**-11


@pytest.fixture
def tokens():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SHAPE, generator=generator)
    return x.half()


def decode(parts):
    """In full precision, before the last rounding."""
    codes, scale, middle = parts
    return middle + scale * codes.float()


def test_every_value_is_within_half_a_step(tokens):
    codes, scale, middle = parts = quantize_channels(tokens)
    assert codes.dtype == torch.int8
    assert scale.shape == middle.shape == (2, 3, 1, 1, 1, 7)
    assert (codes.amin((-4, -3, -2)) == -127).all()
    assert (codes.amax((-4, -3, -2)) == 127).all()
    error = (decode(parts) - tokens.float()).abs()
    assert (error <= scale * 0.50001).all()
    assert error.max() > scale.min() * 0.4


def test_half_precision_adds_its_own_rounding_alone(tokens):
    _, scale, _ = parts = quantize_channels(tokens)
    found = dequantize_channels(*parts)
    assert found.dtype == torch.float16
    bound = scale * 0.50001 + HALF_ROUNDING * found.float().abs()
    assert ((found.float() - tokens.float()).abs() <= bound).all()


def test_a_huge_channel_does_not_harm_the_others(tokens):
    expected = dequantize_channels(*quantize_channels(tokens))
    loud = tokens.clone()
    loud[..., 3] *= 1000
    found = dequantize_channels(*quantize_channels(loud))
    others = [0, 1, 2, 4, 5, 6]
    assert torch.equal(found[..., others], expected[..., others])


def test_layers_and_views_have_ranges_of_their_own(tokens):
    expected = dequantize_channels(*quantize_channels(tokens))
    loud = tokens.clone()
    loud[1, 2] *= 1000
    found = dequantize_channels(*quantize_channels(loud))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1, :2], expected[1, :2])


def test_a_channel_far_from_zero_keeps_its_small_changes(tokens):
    """As the large channels of image transformers do: around 60, changing by 1."""
    far = tokens.clone()
    far[..., 0] = 64 + far[..., 0] / 4
    codes, scale, middle = parts = quantize_channels(far)
    assert scale[..., 0].max() < 2 / 127
    assert (decode(parts)[..., 0] - far[..., 0].float()).abs().max() < 0.01


@pytest.mark.parametrize("value", [0.0, 1.0, -3.7, 65504.0, 6e-8])
def test_constant_channels_are_exact(tokens, value):
    tokens[..., 2] = value
    assert torch.equal(dequantize_channels(*quantize_channels(tokens))[..., 2], tokens[..., 2])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_shows_in_the_range(tokens, value):
    tokens[0, 1, 2, 3, 4, 5] = value
    _, scale, middle = quantize_channels(tokens)
    is_sound = (scale.isfinite() & middle.isfinite()).squeeze()
    assert not is_sound[0, 1, 5]
    assert is_sound.sum() == is_sound.numel() - 1


def test_extremes_of_half_precision_survive(tokens):
    tokens[..., 0, 0, 1] = 65504.0
    tokens[..., 1, 1, 1] = -65504.0
    found = dequantize_channels(*quantize_channels(tokens))
    assert found.isfinite().all()
    assert found[..., 0, 0, 1].unique().tolist() == [65504.0]


def test_no_views_are_no_trouble(tokens):
    found = dequantize_channels(*quantize_channels(tokens[0]))
    assert torch.equal(found, dequantize_channels(*quantize_channels(tokens))[0])
