"""A whole experiment in a folder: arrays as clips, lists, and a config that trains in seconds."""

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config

from amflow_mm.engine.launch import load_config
from amflow_mm.engine.runner import AMFlowRunner

ROOT = Path(__file__).parents[2]
NUM_CLASSES = 3

_RUNS = itertools.count()

RANDOM_PIPELINE = [{"type": "LoadArray"}, {"type": "RandomGain"}, {"type": "PackActionInputs"}]
"""With an augmentation."""

CONFIG = """
default_scope = "amflow_mm"
custom_imports = dict(imports=["tests.engine.tiny_parts"], allow_failed_imports=False)
data_help = "python make_the_data.py"
env_cfg = dict(mp_cfg=dict(mp_start_method="fork"))
visualizer = dict(type="ActionVisualizer", vis_backends=[dict(type="LocalVisBackend")])
model = dict(
    type="TinyRecognizer",
    data_preprocessor=dict(
        type="ActionDataPreprocessor", mean=[0.5] * 3, std=[0.25] * 3, format_shape="NCTHW"
    ),
    cls_head=dict(type="TinyHead", num_classes=3),
)
clip_pipeline = [dict(type="LoadArray"), dict(type="PackActionInputs")]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="VideoDataset",
        ann_file="{data}/train.txt",
        data_prefix=dict(video="{data}/clips"),
        pipeline=clip_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="VideoDataset",
        ann_file="{data}/val.txt",
        data_prefix=dict(video="{data}/clips"),
        pipeline=clip_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="AccMetric")
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=0.01, weight_decay=0.05),
    constructor="TrainableOptimWrapperConstructor",
)
param_scheduler = [dict(type="CosineAnnealingLR", T_max=4, end=4, by_epoch=True)]
default_hooks = dict(logger=dict(type="LoggerHook", interval=1))
"""


def write_experiment(
    folder: Path, *, num_train: int = 8, num_val: int = 5, extra: str = ""
) -> Path:
    """Write data and config; returns the config's path.

    Args:
        folder: Where; its name becomes part of the experiment's, so folders of runs in one
            process must differ.
        num_train: Training clips.
        num_val: Validation clips.
        extra: Lines added to the config.
    """
    clips = folder / "clips"
    clips.mkdir(parents=True)
    rng = np.random.default_rng(5)
    for split, count in (("train", num_train), ("val", num_val)):
        lines = []
        for index in range(count):
            name, label = f"{split}_{index}.npy", index % NUM_CLASSES
            clip = rng.normal(size=(1, 3, 5, 2, 2)) + label
            np.save(clips / name, clip.astype(np.float32))
            lines.append(f"{name} {label}\n")
        (folder / f"{split}.txt").write_text("".join(lines))
    config = folder / f"{folder.name}.py"
    config.write_text(CONFIG.replace("{data}", str(folder)) + extra)
    return config


def make_config(
    experiment: Path, work_dir: Path, options: dict | None = None, *, seed: int | None = 3
) -> Config:
    """Load the experiment's config for a run in this process."""
    cfg = load_config(str(experiment), options)
    cfg.work_dir = str(work_dir)
    cfg.randomness = {"seed": seed}
    # Runs within one second would share MMEngine's global instances.
    cfg.experiment_name = f"run_{next(_RUNS)}"
    return cfg


def train_here(
    experiment: Path,
    work_dir: Path,
    options: dict | None = None,
    *,
    seed: int | None = 3,
    resume: bool = False,
) -> AMFlowRunner:
    """Train in this process."""
    cfg = make_config(experiment, work_dir, options, seed=seed)
    cfg.resume = resume
    runner = AMFlowRunner.from_cfg(cfg)
    runner.train()
    return runner


def assert_same(found: Any, expected: Any, where: str) -> None:
    """Compare nested state to the bit."""
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_same(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected), where
        for index, pair in enumerate(zip(found, expected, strict=True)):
            assert_same(*pair, f"{where}[{index}]")
    elif isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected), where
    else:
        assert found == expected, where


def assert_same_run(found: Path, expected: Path) -> None:
    """Compare two checkpoints to the bit: weights, optimiser, schedule."""
    found, expected = torch.load(found), torch.load(expected)
    for part in ("state_dict", "optimizer", "param_schedulers"):
        assert_same(found[part], expected[part], part)


def run_tool(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a tool in a process of its own and return what it wrote.

    Args:
        command: Name of the tool and its arguments.
        cwd: Where it runs.
        variables: Environment variables on top of this process's.
    """
    tool = str(ROOT / "tools" / command[0])
    start = [sys.executable] if tool.endswith(".py") else ["bash"]
    environment = {
        "PYTHONPATH": str(ROOT),  # first, before the top-level `tests` of dependencies
        "PYTHON": sys.executable,
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [*start, tool, *map(str, command[1:])],
        cwd=cwd,
        env=os.environ | environment | variables,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
