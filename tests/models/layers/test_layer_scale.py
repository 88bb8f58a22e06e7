"""LayerScale."""

import torch

from amflow_mm.models.layers import LayerScale


def test_channels_are_scaled_one_by_one():
    module = LayerScale(3, init_value=0.5)
    x = torch.ones(2, 5, 3)
    assert torch.equal(module(x), 0.5 * x)
    with torch.no_grad():
        module.gamma.copy_(torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(module(x)[1, 4], torch.tensor([1.0, 2.0, 3.0]))


def test_the_identity_by_default():
    x = torch.arange(6.0).view(2, 3)
    assert torch.equal(LayerScale(3)(x), x)
