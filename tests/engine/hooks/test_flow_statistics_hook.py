"""Statistics of AM flow: what is looked at, when, and what it leaves behind."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MessageHub
from torch import nn

from amflow_mm.engine.hooks import FlowStatisticsHook
from amflow_mm.engine.hooks.flow_statistics_hook import compute_flow_statistics, take_first


class Model(nn.Module):
    """Returns a flow that shows which samples came in, and in which mode."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen = []

    def data_preprocessor(self, data, training):
        return {**data, "inputs": torch.stack(data["inputs"])}

    def extract_feat(self, inputs, stage):
        self.seen.append((stage, len(inputs), self.training, torch.is_grad_enabled()))
        return (inputs * self.scale)[:, None, None], {}


@pytest.fixture
def runner():
    runner = SimpleNamespace(
        model=Model(), iter=0, message_hub=MessageHub.get_instance("flow_statistics")
    )
    yield runner
    MessageHub._instance_dict.pop("flow_statistics")


BATCH = {
    "inputs": [torch.tensor([0.0, 1.0, 2.0]), torch.tensor([9.0, 9.0, 9.0])],
    "data_samples": ["a", "b"],
}


def test_statistics_by_hand():
    flow = torch.tensor([0.0, 1.0, 2.0]).reshape(1, 1, 1, 3)
    found = compute_flow_statistics(flow)
    assert found == pytest.approx({"mean": 1.0, "std": (2 / 3) ** 0.5, "min": 0.0, "max": 2.0})


def test_first_clip_is_looked_at_as_at_test_time(runner):
    FlowStatisticsHook(interval=1).after_train_iter(runner, 0, BATCH)
    assert runner.model.seen == [("flow", 1, False, False)]
    assert runner.model.training
    assert runner.message_hub.get_scalar("train/flow_max").current() == 2.0
    assert runner.message_hub.get_scalar("train/flow_mean").current() == 1.0


def test_interval(runner):
    hook = FlowStatisticsHook(interval=3)
    for runner.iter in range(7):
        hook.after_train_iter(runner, runner.iter, BATCH)
    assert len(runner.model.seen) == 2


def test_other_processes_do_not_look(runner, monkeypatch):
    monkeypatch.setattr(
        "amflow_mm.engine.hooks.flow_statistics_hook.is_main_process", lambda: False
    )
    FlowStatisticsHook(interval=1).after_train_iter(runner, 0, BATCH)
    assert runner.model.seen == []


def test_first_of_nested_batches():
    batch = {"inputs": {"a": torch.arange(6).reshape(3, 2), "b": [1, 2, 3]}, "data_samples": "xyz"}
    first = take_first(batch)
    assert first["inputs"]["a"].tolist() == [[0, 1]]
    assert (first["inputs"]["b"], first["data_samples"]) == ([1], "x")


def test_interval_below_one_raises():
    with pytest.raises(ValueError, match="interval=0 must be at least 1"):
        FlowStatisticsHook(interval=0)
