"""The report at start-up, and the optimiser against it."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from amflow_mm.engine.hooks import ParameterReportHook
from amflow_mm.engine.hooks.parameter_report_hook import check_optimizer


@pytest.fixture
def model():
    model = nn.ModuleDict({"frozen": nn.Linear(3, 5), "head": nn.Linear(5, 7)})
    model["frozen"].requires_grad_(False)
    return model


def test_report_is_logged_and_the_right_optimiser_passes(model):
    lines = []
    runner = SimpleNamespace(
        model=model,
        logger=SimpleNamespace(info=lines.append),
        optim_wrapper=SimpleNamespace(optimizer=torch.optim.SGD(model["head"].parameters(), 0.1)),
    )
    ParameterReportHook().before_train(runner)
    rows = [line.split() for line in "\n".join(lines).splitlines()]
    assert ["frozen", "0", "20", "0.00"] in rows
    assert ["head", "42", "42", "100.00"] in rows
    assert ["all", "42", "62", "67.74"] in rows
    assert lines[0].splitlines()[-1].startswith("42 of 62 parameters are trained (67.74 %); ")


def test_frozen_parameter_in_the_optimiser_is_named(model):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(
        ValueError, match=r"2 frozen .*frozen\.weight.*TrainableOptimWrapperConstructor"
    ):
        check_optimizer(model, optimizer)


def test_parameter_that_the_optimiser_lacks_is_named(model):
    optimizer = torch.optim.SGD([model["head"].weight], 0.1)
    with pytest.raises(ValueError, match=r"lacks 1 trainable .*head\.bias"):
        check_optimizer(model, optimizer)
