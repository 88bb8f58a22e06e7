"""Where the forward pass runs in bfloat16."""

import pytest
import torch
from torch import nn

from amflow_mm.engine.optim import AutocastOptimWrapper, autocast_optim_wrapper


def make(monkeypatch, device, **options):
    monkeypatch.setattr(autocast_optim_wrapper, "get_device", lambda: device)
    model = nn.Linear(3, 5)
    return model, AutocastOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1), **options)


@pytest.mark.parametrize(
    ("device", "where", "is_enabled"),
    [
        ("cpu", "gpu", False),
        ("cpu", "anywhere", True),
        ("cuda", "gpu", True),
        ("cuda:0", "gpu", True),
        ("cuda", "anywhere", True),
    ],
)
def test_where(monkeypatch, device, where, is_enabled):
    _, wrapper = make(monkeypatch, device, where=where)
    assert wrapper.is_enabled is is_enabled


def test_forward_is_bfloat16_and_weights_stay_float32(monkeypatch):
    model, wrapper = make(monkeypatch, "cpu", where="anywhere")
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(2, 3))
    assert out.dtype == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")
    wrapper.update_params(out.float().sum())
    assert model.weight.dtype == torch.float32
    torch.testing.assert_close(model.weight, before - 0.2)


def test_default_trains_in_float32_without_a_gpu(monkeypatch):
    model, wrapper = make(monkeypatch, "cpu")
    with wrapper.optim_context(model):
        assert model(torch.ones(2, 3)).dtype == torch.float32


def test_gradients_are_accumulated_as_mmengine_does(monkeypatch):
    model, wrapper = make(monkeypatch, "cpu", where="anywhere", accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 4)
    before = model.weight.detach().clone()
    wrapper.update_params(model(torch.ones(2, 3)).sum())
    assert torch.equal(model.weight, before)
    wrapper.update_params(model(torch.ones(2, 3)).sum())
    assert not torch.equal(model.weight, before)


def test_unknown_place_lists_the_known(monkeypatch):
    with pytest.raises(ValueError, match=r"where='cpu' must be one of \('gpu', 'anywhere'\)"):
        make(monkeypatch, "cpu", where="cpu")
