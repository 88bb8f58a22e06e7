"""What trains is declared by modules; the rest is frozen and stays in evaluation mode."""

import pytest
import torch
from torch import nn

from amflow_mm.models.peft import (
    AdapterModule,
    declared_names,
    freeze_except,
    keep_frozen_in_eval,
    parameter_report,
    trainable_state_dict,
)


class Declaring(nn.Module):
    """A linear layer and a norm that are trained, beside a frozen branch."""

    def __init__(self, names=("norm.weight", "up.weight", "up.bias")):
        super().__init__()
        self.frozen = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(0.5))
        self.norm = nn.LayerNorm(5, bias=False)
        self.up = nn.Linear(5, 2)
        self.dropout = nn.Dropout(0.5)
        self.names = names

    def adapter_params(self):
        return list(self.names)

    def forward(self, x):
        return self.up(self.dropout(self.norm(self.frozen(x))))


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(7, 3)
        self.branch = Declaring()

    def forward(self, x):
        return self.branch(self.trunk(x))


DECLARED = {"branch.norm.weight", "branch.up.weight", "branch.up.bias"}


def test_what_is_declared_trains_and_nothing_else():
    model = Model()
    freeze_except(model)
    found = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert found == DECLARED == declared_names(model)


def test_declaring_thaws_what_was_frozen():
    model = Model().requires_grad_(False)
    freeze_except(model)
    assert model.branch.up.weight.requires_grad


def test_a_module_may_declare_at_the_top():
    model = Declaring()
    freeze_except(model)
    assert declared_names(model) == {"norm.weight", "up.weight", "up.bias"}


def test_a_declared_name_that_does_not_exist_raises():
    model = nn.Sequential(Declaring(names=("up.weigth",)))
    with pytest.raises(ValueError, match=r"adapter_params\(\) of Declaring names 'up\.weigth'"):
        freeze_except(model)


def test_the_protocol_is_recognised_by_its_method():
    assert isinstance(Declaring(), AdapterModule)
    assert not isinstance(nn.Linear(1, 1), AdapterModule)


def test_gradients_reach_the_declared_set_alone():
    model = Model()
    freeze_except(model)
    keep_frozen_in_eval(model)
    model(torch.randn(11, 7)).square().sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == DECLARED


def test_frozen_parts_stay_in_evaluation_mode_and_trained_ones_do_not():
    model = Model()
    freeze_except(model)
    model.train()
    keep_frozen_in_eval(model)
    modes = {name: module.training for name, module in model.named_modules()}
    assert modes == {
        "": True,
        "trunk": False,
        "branch": True,
        "branch.frozen": False,
        "branch.frozen.0": False,
        "branch.frozen.1": False,
        "branch.frozen.2": False,
        "branch.norm": True,
        "branch.up": True,
        "branch.dropout": True,
    }


def test_frozen_statistics_do_not_move_while_the_rest_trains():
    model = Model()
    freeze_except(model)
    model.train()
    keep_frozen_in_eval(model)
    before = model.branch.frozen[1].running_mean.clone()
    model(torch.randn(11, 7))
    assert torch.equal(model.branch.frozen[1].running_mean, before)


def test_the_report_counts_by_child():
    report = freeze_except(model := Model())
    trunk, branch = 7 * 3 + 3, 3 * 5 + 5 + 2 * 5 + 5 + 5 * 2 + 2
    trained = 5 + 5 * 2 + 2
    assert report.rows == (("trunk", 0, trunk), ("branch", trained, branch))
    assert (report.trainable, report.total) == (trained, trunk + branch)
    deeper = parameter_report(model, depth=2)
    assert ("branch.up", 12, 12) in deeper.rows
    assert ("branch.frozen", 0, 30) in deeper.rows
    assert deeper.total == report.total


def test_the_report_prints_a_row_for_each_child_and_the_sum():
    lines = str(freeze_except(Model())).splitlines()
    assert [line.split() for line in lines] == [
        ["module", "trainable", "total", "%"],
        ["trunk", "0", "24", "0.00"],
        ["branch", "17", "47", "36.17"],
        ["all", "17", "71", "23.94"],
    ]


def test_the_trainable_state_holds_what_an_optimiser_moves():
    model = Model()
    freeze_except(model)
    model.train()
    keep_frozen_in_eval(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1.0)
    model(torch.randn(11, 7)).square().sum().backward()
    optimizer.step()
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    found = trainable_state_dict(model)
    assert found.keys() == DECLARED == moved
    assert torch.equal(found["branch.up.bias"], model.branch.up.bias)


def test_adapters_alone_carry_a_model_over():
    source, target = Model(), Model()
    freeze_except(source)
    target.load_state_dict(source.state_dict() | {n: torch.zeros_like(v) for n, v in
                           trainable_state_dict(source).items()})  # fmt: skip
    x = torch.randn(11, 7)
    assert not torch.equal(target.eval()(x), source.eval()(x))
    target.load_state_dict(trainable_state_dict(source), strict=False)
    assert torch.equal(target(x), source(x))
