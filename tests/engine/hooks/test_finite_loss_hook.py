"""A loss that is no number ends all processes before it reaches a weight."""

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from torch import nn

from amflow_mm.engine.errors import UserError
from amflow_mm.engine.hooks.finite_loss_hook import FiniteLossHook, batch_names
from tests.engine.fork_server import fork_server
from tests.engine.resumed_runs import EVERY_ITERATION, train, write_run
from tests.engine.tiny_experiment import train_here, write_experiment
from tests.engine.trace_hook import read_trace

HOOK = {"custom_hooks": [{"type": "FiniteLossHook"}]}


def spoil(experiment, name):
    """Put a NaN into a clip."""
    path = experiment.parent / "clips" / name
    clip = np.load(path)
    clip[0, 0, 0, 0, 0] = np.nan
    np.save(path, clip)


class Scaled(BaseModel):
    """The loss is the weight times the input."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, inputs, mode="tensor"):
        return {"loss": self.weight * inputs.sum(), "score": inputs.sum() * torch.inf}


class RunnerStandIn:
    """What the hook asks a runner for."""

    def __init__(self, **options):
        self.model = Scaled()
        optimizer = torch.optim.SGD(self.model.parameters(), lr=1.0)
        self.optim_wrapper = OptimWrapper(optimizer, **options)
        self.iter, self.epoch = 6, 1
        self.train_dataloader = type("Loader", (), {"dataset": None})
        self.message_hub = type("Hub", (), {"runtime_info": {"last_ckpt": "run/iter_5.pth"}})

    def train(self, hook, *values):
        hook.before_train(self)
        for value in values:
            batch = {"inputs": torch.tensor([value])}
            hook.before_train_iter(self, 0, batch)
            self.model.train_step(batch, self.optim_wrapper)
            hook.after_train_iter(self, 0, batch)
        hook.after_train(self)


@pytest.mark.parametrize(
    ("value", "word"), [(torch.inf, "inf"), (-torch.inf, "-inf"), (torch.nan, "nan")]
)
def test_step_is_not_taken(value, word):
    runner = RunnerStandIn()
    with pytest.raises(
        UserError, match=rf"^iteration 7, epoch 2: the loss is {word} in a batch wi"
    ):
        runner.train(FiniteLossHook(), 0.25, float(value))
    assert runner.model.weight.item() == 0.75  # the first step alone


def test_sum_of_gradients_is_looked_at_before_its_step():
    runner = RunnerStandIn(accumulative_counts=3)
    with pytest.raises(UserError, match=r"the last checkpoint is run/iter_5\.pth"):
        runner.train(FiniteLossHook(), 0.25, torch.nan)
    assert runner.model.weight.item() == 1


def test_finite_losses_are_let_through_whatever_else_is_infinite():
    """The entry `score` is no loss; and after training nobody looks any more."""
    runner, hook = RunnerStandIn(), FiniteLossHook()
    runner.train(hook, 0.25, 0.5)
    assert runner.model.weight.item() == 0.25
    runner.model.train_step({"inputs": torch.tensor([torch.inf])}, runner.optim_wrapper)
    assert runner.model.weight.item() == -torch.inf


def test_clips_without_files_are_named_by_number():
    class Numbered:
        def get_data_info(self, index):
            return {"label": 0}

    sample = type("Sample", (), {"metainfo": {"sample_index": 4}})
    assert batch_names(Numbered(), {"data_samples": [sample]}) == ["clip 4"]


def test_message_names_step_clips_and_checkpoint(tmp_path):
    experiment = write_experiment(tmp_path / "experiment")
    spoil(experiment, "train_3.npy")
    every = {"type": "AMFlowCheckpointHook", "interval": 1, "by_epoch": False}
    with pytest.raises(UserError, match=r"the loss is nan in \S+, \S+\. ") as caught:
        train_here(experiment, tmp_path / "run", HOOK | {"default_hooks.checkpoint": every})
    message = str(caught.value)
    assert "\n" not in message
    assert "clips/train_3.npy" in message
    num_saved = len(list((tmp_path / "run").glob("iter_*.pth")))
    assert f"iteration {num_saved + 1}, epoch 1: " in message
    last = f"the last checkpoint is {tmp_path}/run/iter_{num_saved}.pth"
    assert (last if num_saved else "there is no checkpoint yet") in message


def test_hook_changes_nothing_else(tmp_path):
    experiment = write_experiment(tmp_path / "experiment")
    watched = train_here(experiment, tmp_path / "watched", HOOK).model.state_dict()
    plain = train_here(experiment, tmp_path / "plain").model.state_dict()
    assert all(torch.equal(watched[name], plain[name]) for name in plain)


@pytest.mark.slow
def test_all_processes_stop_at_the_loss_of_one(tmp_path):
    config = write_run(tmp_path / "experiment", loop="epochs", extra=EVERY_ITERATION)
    spoil(config, "train_3.npy")
    run = tmp_path / "run"
    with fork_server() as server:
        statuses = train(server, config, run, "--seed", "3", num_processes=2)
    assert statuses == [2, 2]
    traces = [
        read_trace(run, rank) if (run / f"trace_{rank}.jsonl").exists() else [] for rank in (0, 1)
    ]
    assert len(traces[0]) == len(traces[1])
    messages = [(run / f"output_{rank}.txt").read_text().splitlines()[-1] for rank in (0, 1)]
    assert messages[0] == messages[1]
    assert messages[0].startswith(f"error: iteration {len(traces[0]) + 1}, ")
    assert messages[0].count("the loss is") == 1
    assert "train_3.npy" in messages[0]
