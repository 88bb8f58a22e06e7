"""A whole experiment in a folder: arrays as clips, lists, and a config that trains in seconds."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
NUM_CLASSES = 3

CONFIG = """
default_scope = "amflow_mm"
custom_imports = dict(imports=["tiny_parts"], allow_failed_imports=False)
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
param_scheduler = [dict(type="CosineAnnealingLR", T_max=4, by_epoch=True)]
default_hooks = dict(logger=dict(type="LoggerHook", interval=1))
"""


def write_experiment(folder: Path, *, num_train: int = 8, num_val: int = 5, extra: str = "") -> Path:
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


def tool_environment(**variables: str) -> dict[str, str]:
    """Return the environment in which the tools find the package and the tiny parts."""
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHON": sys.executable,
            **variables}  # fmt: skip


def run_tool(*command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a tool, a Python one by this interpreter, and return what it wrote."""
    tool = str(ROOT / "tools" / command[0])
    start = [sys.executable] if tool.endswith(".py") else ["bash"]
    return subprocess.run(
        [*start, tool, *map(str, command[1:])],
        cwd=cwd,
        env=tool_environment(**variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
