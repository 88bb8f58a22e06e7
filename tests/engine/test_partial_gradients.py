"""What was added up between two steps is put back; a step leaves nothing to keep."""

import pytest
import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import nn

from amflow_mm.engine.errors import CheckpointError
from amflow_mm.engine.partial_gradients import gather_partial_gradients, restore_partial_gradients


def make_model(accumulative_counts=2):
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    optimizer = torch.optim.SGD([model.weight], lr=0.1)
    return model, OptimWrapper(optimizer, accumulative_counts=accumulative_counts)


def test_sum_between_two_steps_is_kept_and_put_back():
    model, wrapper = make_model()
    wrapper.update_params(model(torch.ones(5, 3)).sum())
    kept = gather_partial_gradients(model, wrapper)
    assert {name: tuple(value.shape) for name, value in kept.items()} == {"weight": (1, 2, 3)}
    expected = model.weight.grad.clone()
    other, _ = make_model()
    restore_partial_gradients(other, kept)
    assert torch.equal(other.weight.grad, expected)
    other.weight.grad.add_(1)
    assert torch.equal(kept["weight"][0], expected)  # a copy


def test_nothing_is_kept_after_a_step():
    model, wrapper = make_model()
    assert gather_partial_gradients(model, wrapper) is None
    for _ in range(2):
        wrapper.update_params(model(torch.ones(5, 3)).sum())
    assert gather_partial_gradients(model, wrapper) is None


def test_several_optimisers_step_by_themselves():
    model, wrapper = make_model()
    assert gather_partial_gradients(model, OptimWrapperDict(only=wrapper)) is None


def test_another_number_of_processes_is_refused():
    model, _ = make_model()
    with pytest.raises(CheckpointError, match=r"2 processes in the middle of.*which 1 cannot"):
        restore_partial_gradients(model, {"weight": torch.zeros(2, 2, 3)})
    assert model.weight.grad is None
