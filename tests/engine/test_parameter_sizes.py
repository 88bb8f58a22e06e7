"""Sizes: against tensors that exist, against files, and that they add up."""

import dataclasses

import pytest
import torch
from torch import nn

from amflow_mm.engine.checkpoint_io import write_checkpoint
from amflow_mm.engine.frozen_identity import frozen_tensors
from amflow_mm.engine.parameter_sizes import ModuleSizes, measure_parameters


class Adapted(nn.Module):
    """A frozen linear layer with a trained one inside that has a norm with buffers."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(300, 500).requires_grad_(False)
        self.adapter = nn.Sequential(nn.Linear(500, 70), nn.BatchNorm1d(70))
        self.register_buffer("scratch", torch.zeros(11), persistent=False)


class Recognizer(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Adapted()
        self.head = nn.Linear(70, 13).double()


def nbytes(tensors):
    return sum(tensor.nbytes for tensor in tensors)


@pytest.fixture
def trained():
    """A model after a step of AdamW, so that all that training keeps is there."""
    model = Recognizer()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    return model, optimizer


def test_memory_is_that_of_the_tensors_that_training_makes(trained):
    model, optimizer = trained
    total = measure_parameters(model).total
    assert total.weight_bytes == nbytes([*model.parameters(), *model.buffers()])
    assert total.gradient_bytes == nbytes(p.grad for p in model.parameters() if p.grad is not None)
    states = [value for state in optimizer.state.values() for value in state.values()]
    assert total.optimizer_bytes == nbytes(states)
    assert total.training_bytes == sum(
        (total.weight_bytes, total.gradient_bytes, total.optimizer_bytes)
    )


def test_checkpoint_is_as_large_as_its_file(trained, tmp_path):
    model, optimizer = trained
    total = measure_parameters(model).total
    weights = model.state_dict()
    frozen = frozen_tensors(model)
    for expected, left_out in (
        (total.checkpoint_bytes, frozen),
        (total.full_checkpoint_bytes, ()),
    ):
        kept = {name: value for name, value in weights.items() if name not in left_out}
        checkpoint = {"state_dict": kept, "optimizer": optimizer.state_dict()}
        write_checkpoint(checkpoint, tmp_path / "x.pth")
        overhead = (tmp_path / "x.pth").stat().st_size - expected
        assert 0 < overhead < 400 * (len(kept) + 6 * 3) + 4000  # names and padding


def test_counts_are_those_of_each_module(trained):
    model, _ = trained
    modules = measure_parameters(model).modules
    counts = {n: (part.trainable, part.frozen, part.buffers) for n, part in modules.items()}
    assert counts == {
        "backbone": (0, 0, 11),
        "backbone.frozen": (0, 300 * 500 + 500, 0),
        "backbone.adapter.*": (500 * 70 + 70 + 70 + 70, 0, 70 + 70 + 1),
        "head": (70 * 13 + 13, 0, 0),
    }
    assert modules["backbone.frozen"].saved_bytes == 0
    assert modules["backbone"].full_saved_bytes == 0  # not persistent
    assert modules["head"].optimizer_bytes == 2 * 8 * (70 * 13 + 13) + 2 * 4


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_modules_add_up_at_every_depth(trained, depth):
    model, _ = trained
    sizes = measure_parameters(model, depth=depth)
    columns = map(dataclasses.astuple, sizes.modules.values())
    summed = [sum(column) for column in zip(*columns, strict=True)]
    assert ModuleSizes(*summed) == sizes.total == measure_parameters(model).total
    assert max(name.replace("*", "").strip(".").count(".") for name in sizes.modules) < depth


def test_meta_device_tells_the_same(trained):
    model, _ = trained
    with torch.device("meta"):
        meta = Recognizer()
    assert measure_parameters(meta) == measure_parameters(model)


def test_table_and_short_form(trained):
    model, _ = trained
    sizes = measure_parameters(model)
    lines = str(sizes).splitlines()
    assert lines[1].split() == [
        "module", "trainable", "frozen", "buffers", "weights", "gradients", "AdamW", "checkpoint",
        "full",
    ]  # fmt: skip
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].split()[:4] == ["all", "36,133", "150,500", "152"]
    assert sizes.short() == (
        "36,133 of 186,633 parameters are trained (19.36 %); with AdamW a checkpoint takes "
        f"{sizes.total.checkpoint_bytes / 1e6:.1f} MB, and "
        f"{sizes.total.full_checkpoint_bytes / 1e6:.1f} MB with the frozen weights"
    )


def test_model_without_parameters_takes_nothing():
    sizes = measure_parameters(nn.Identity())
    assert sizes.total == ModuleSizes()
    assert sizes.short().startswith("0 of 0 parameters are trained (0.00 %)")
