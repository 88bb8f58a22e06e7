"""Experiments that are cut off and resumed, and how to compare them with those that were not."""

import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.engine.fork_server import ForkServer
from tests.engine.tiny_experiment import RANDOM_PIPELINE, assert_same, write_experiment
from tests.engine.trace_hook import read_trace

NUM_TRAIN, NUM_EPOCHS = 9, 3

COMMON = f"""
custom_imports["imports"].append("tests.engine.trace_hook")
custom_hooks = [
    dict(type="TraceHook"), dict(type="FiniteLossHook"), dict(type="PreemptionHook")
]
model["dropout"] = 0.5
train_dataloader["dataset"]["pipeline"] = {RANDOM_PIPELINE}
val_dataloader["dataset"]["pipeline"] = {RANDOM_PIPELINE}
"""
LOOPS = {
    "epochs": f"""
train_cfg = dict(by_epoch=True, max_epochs={NUM_EPOCHS}, val_interval=1)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=5, by_epoch=False),
    dict(type="CosineAnnealingLR", T_max=3, end=3, by_epoch=True),
]
""",
    "iterations": """
train_cfg = dict(by_epoch=False, max_iters=11, val_interval=4)
param_scheduler = [dict(type="CosineAnnealingLR", T_max=11, end=11, by_epoch=False)]
""",
}
EVERY_ITERATION = """
default_hooks["checkpoint"] = dict(
    type="AMFlowCheckpointHook", interval=1, by_epoch=False, save_best="acc/top1"
)
"""
RARELY = """
default_hooks["checkpoint"] = dict(
    type="AMFlowCheckpointHook", interval=100, by_epoch=False, save_best="acc/top1"
)
"""
VARIANTS = {
    "plain": "",
    "accumulation": 'optim_wrapper["accumulative_counts"] = 2\n',
    "average": 'custom_hooks.append(dict(type="AMFlowEMAHook", momentum=0.3))\n',
    "bfloat16": 'optim_wrapper.update(type="AutocastOptimWrapper", where="anywhere")\n',
    # Every remedy at once, and data workers that read ahead.
    "all": """
optim_wrapper.update(type="AutocastOptimWrapper", where="anywhere", accumulative_counts=3)
custom_hooks.append(dict(type="AMFlowEMAHook", momentum=0.3))
train_dataloader.update(num_workers=2, persistent_workers=True)
""",
}
TIMES = ("train/time", "train/data_time", "val/time", "val/data_time")
"""What the message hub holds of the clock."""
OF_THE_RUN = ("cfg", "eta", "experiment_name")
"""What it holds of one start of the run."""


def write_run(folder: Path, *, loop: str, extra: str) -> Path:
    """Write an experiment with random augmentation, dropout and validations; returns the config."""
    return write_experiment(folder, num_train=NUM_TRAIN, extra=COMMON + LOOPS[loop] + extra)


def train(
    server: ForkServer,
    config: Path,
    work_dir: Path,
    *arguments: str,
    num_processes: int = 1,
    variables: dict[str, str] | None = None,
) -> list[int]:
    """Train in processes of their own; returns their exit statuses."""
    work_dir.mkdir(exist_ok=True)
    layout = Layout(num_processes)
    runs = [
        server.start(
            "train.py", config, "--work-dir", work_dir, *layout.arguments, *arguments,
            cwd=work_dir.parent, log=work_dir / f"output_{rank}.txt",
            **layout.variables(rank), **(variables or {}),
        )
        for rank in range(num_processes)
    ]  # fmt: skip
    return [server.wait(run) for run in runs]


class Layout:
    """How processes without a launcher find each other."""

    def __init__(self, num_processes: int) -> None:
        self.num_processes = num_processes
        self.arguments = ("--launcher", "pytorch") if num_processes > 1 else ()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def variables(self, rank: int) -> dict[str, str]:
        return {
            "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(self.num_processes),
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(self.port),
        }  # fmt: skip


def cut_off(whole: Path, part: Path, *, checkpoint: str) -> None:
    """Make the work folder as it was when a run had just written a checkpoint and ended."""
    part.mkdir()
    shutil.copy(whole / checkpoint, part)
    (part / "last_checkpoint").write_text(checkpoint)


def assert_same_end(found: Path, expected: Path, *, name: str, num_processes: int = 1) -> None:
    """Compare the last checkpoints of two runs and what they drew on the way.

    Args:
        found: Work folder of the resumed run.
        expected: Work folder of the run that was not interrupted.
        name: File name of the checkpoint.
        num_processes: Processes of each run.
    """
    states = [torch.load(folder / name, weights_only=True) for folder in (found, expected)]
    assert states[0].keys() == states[1].keys()
    parts = set(states[0]) - {"meta", "message_hub"}
    assert {"state_dict", "optimizer", "param_schedulers"} <= parts
    for part in parts:
        assert_same(states[0][part], states[1][part], part)
    for key in ("epoch", "iter", "seed"):
        assert states[0]["meta"][key] == states[1]["meta"][key]
    assert_same(*(history(state["message_hub"]) for state in states), "message_hub")
    for rank in range(num_processes):
        assert_same_trace(read_trace(found, rank), read_trace(expected, rank))


def assert_same_trace(found: Sequence[dict], expected: Sequence[dict]) -> None:
    """Compare the iterations that a resumed run has made with those of the whole run."""
    assert found, "the resumed run has trained nothing"
    by_iter = {line["iter"]: line for line in expected}
    assert sorted(by_iter) == list(range(len(expected)))
    assert found == [by_iter[line["iter"]] for line in found]
    assert found[-1] == expected[-1]


def history(hub: dict[str, Any]) -> dict[str, Any]:
    """Return what is to be equal of a message hub: all but the clock and the folders."""
    scalars = {
        name: [part.tolist() for part in buffer.data]
        for name, buffer in hub["log_scalars"].items()
        if name not in TIMES
    }
    info = {
        name: os.path.basename(value) if name in ("last_ckpt", "best_ckpt") else value
        for name, value in hub["runtime_info"].items()
        if name not in OF_THE_RUN
    }
    return {"scalars": scalars, "info": info}
