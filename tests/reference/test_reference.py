"""The oracles against torch's own operators: an oracle that errs proves nothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.reference import basics, correspondence, temporal_units, vit


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_scalar_functions_agree_with_torch():
    x = _random(11)
    expected = {
        "gelu": F.gelu(x),
        "silu": F.silu(x),
        "relu": F.relu(x),
        "quick_gelu": x * torch.sigmoid(1.702 * x),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(basics.elementwise(x, name), values, atol=1e-12)
    np.testing.assert_allclose(basics.softmax(x.tolist()), x.softmax(0), atol=1e-12)


def test_layer_norm_agrees_with_torch():
    x, weight, bias = _random(7), _random(7, seed=1), _random(7, seed=2)
    expected = F.layer_norm(x, (7,), weight, bias, eps=1e-6)
    found = basics.layer_norm(x, weight.numpy(), bias.numpy(), 1e-6)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_transformer_layer_agrees_with_torch():
    layer = nn.TransformerEncoderLayer(
        6, 3, 10, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    names = {
        "self_attn.in_proj_": "qkv.",
        "self_attn.out_proj.": "proj.",
        "linear1.": "fc1.",
        "linear2.": "fc2.",
    }
    weights = {}
    for key, value in basics.weights_of(layer).items():
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        weights[key] = value
    x = _random(5, 6)
    found = temporal_units.transformer_layer(x.numpy(), weights, num_heads=3)
    np.testing.assert_allclose(found, layer(x[None])[0].detach(), atol=1e-10)


@pytest.mark.parametrize("dilation", [1, 2, 4])
def test_depthwise_over_time_agrees_with_conv1d(dilation):
    x, weight, bias = _random(7, 5), _random(5, 3, seed=1), _random(5, seed=2)
    found = temporal_units.depthwise_over_time(
        x.numpy(), weight.numpy(), bias.numpy(), dilation=dilation
    )
    expected = F.conv1d(
        x.T[None], weight[:, None], bias, padding=dilation, dilation=dilation, groups=5
    )[0].T
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_depthwise_over_time_and_grid_agrees_with_conv3d():
    x, weight, bias = _random(5, 2, 3, 7), _random(7, 3, 3, 3, seed=1), _random(7, seed=2)
    found = temporal_units.depthwise_over_time_and_grid(
        x.numpy(), weight.numpy(), bias.numpy(), dilation=2
    )
    expected = F.conv3d(
        x.permute(3, 0, 1, 2)[None],
        weight[:, None],
        bias,
        padding=(2, 1, 1),
        dilation=(2, 1, 1),
        groups=7,
    )[0].permute(1, 2, 3, 0)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_lstm_agrees_with_torch(bidirectional):
    module = nn.LSTM(5, 3, batch_first=True, bidirectional=bidirectional).double()
    x = _random(7, 5)
    found = temporal_units.lstm(x.numpy(), basics.weights_of(module), bidirectional=bidirectional)
    np.testing.assert_allclose(found, module(x[None])[0][0].detach(), atol=1e-12)


def test_sampling_agrees_with_grid_sample_and_clamps_to_the_border():
    grid = (3, 5)
    theta = torch.tensor([[0.9, 0.3, 0.4], [-0.2, 1.3, -0.5]], dtype=torch.float64)
    found = correspondence.affine(theta, grid, normalised=True)
    image = _random(1, 2, *grid)
    points = F.affine_grid(theta[None], (1, 1, *grid), align_corners=True)
    expected = F.grid_sample(image, points, padding_mode="border", align_corners=True)
    np.testing.assert_allclose(
        found @ image[0].flatten(1).T.numpy(), expected[0].flatten(1).T, atol=1e-12
    )
    assert points.abs().max() > 1.1, "some samples must fall outside for the test to mean it"
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)


def test_patch_embed_agrees_with_conv2d():
    image, weight, bias = _random(3, 6, 10), _random(7, 3, 2, 2, seed=1), _random(7, seed=2)
    found = vit.patch_embed(image.numpy(), weight.numpy(), bias.numpy())
    expected = F.conv2d(image[None], weight, bias, stride=2)[0].flatten(1).T
    np.testing.assert_allclose(found, expected, atol=1e-12)
