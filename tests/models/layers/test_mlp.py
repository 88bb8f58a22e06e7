"""Feed-forward layers against loops."""

import numpy as np
import pytest
import torch

from amflow_mm.models.layers import Mlp, QuickGELU, SwiGLU, build_activation
from amflow_mm.testing import fixed_init_, fixed_tensor
from tests.reference.basics import elementwise, to_numpy, weights_of
from tests.reference.vit import mlp as mlp_by_loops


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_the_mlp_equals_the_loops(activation):
    module, x = fixed_init_(Mlp(5, 7, activation=activation)), fixed_tensor((3, 5))
    for found, token in zip(module(x), x, strict=True):
        expected = mlp_by_loops(to_numpy(token), weights_of(module), activation)
        np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5, atol=1e-5)


def test_the_gated_layer_equals_the_loops():
    module, x = fixed_init_(SwiGLU(5, 7)), fixed_tensor((3, 5))
    for found, token in zip(module(x), x, strict=True):
        expected = mlp_by_loops(to_numpy(token), weights_of(module), "unused")
        np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["gelu", "quick_gelu"])
def test_activations_equal_the_loops(name):
    x = fixed_tensor((11,), scale=3.0)
    found = build_activation(name)(x)
    np.testing.assert_allclose(to_numpy(found), elementwise(to_numpy(x), name), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_quick_form_is_what_is_written_out(dtype):
    results = []
    for activation in (QuickGELU(), lambda x: x * torch.sigmoid(1.702 * x)):
        x = fixed_tensor((7, 33), scale=4.0).to(dtype).requires_grad_()
        value = activation(x)
        (value * fixed_tensor(value.shape, tag="loss").to(dtype)).sum().backward()
        results.append((value, x.grad))
    assert torch.equal(results[0][0], results[1][0])
    tolerance = {"atol": torch.finfo(dtype).eps, "rtol": 4 * torch.finfo(dtype).eps}
    torch.testing.assert_close(results[0][1], results[1][1], **tolerance)
    with torch.no_grad():
        assert torch.equal(QuickGELU()(x), results[0][0])


def test_the_gradient_of_the_quick_form_is_exact():
    x = fixed_tensor((7, 5), scale=4.0).double().requires_grad_()
    assert torch.autograd.gradcheck(QuickGELU(), (x,))


def test_the_quick_form_keeps_its_input_alone():
    kept = []
    x = fixed_tensor((7, 33)).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda _: None):
        QuickGELU()(x)
    assert [tensor.data_ptr() for tensor in kept] == [x.data_ptr()]


def test_the_quick_form_leaves_its_input_alone():
    x = fixed_tensor((7, 33))
    before = x.clone()
    QuickGELU()(x)
    assert torch.equal(x, before)


def test_the_quick_form_is_not_the_exact_one():
    x = torch.tensor([1.0])
    assert (QuickGELU()(x) - torch.nn.GELU()(x)).abs() > 1e-3


@pytest.mark.usefixtures("own_checks_only")
def test_an_unknown_activation_raises():
    with pytest.raises(ValueError, match="activation='relu' must be one of 'gelu', 'quick_gelu'"):
        build_activation("relu")
