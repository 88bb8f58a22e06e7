"""The tiny experiment on videos of which some are broken."""

from collections.abc import Mapping
from pathlib import Path

from tests.datasets.broken_videos import dataset_config, write_list
from tests.engine.tiny_experiment import write_experiment

EXTRA = """
custom_imports["imports"].append("tests.datasets.broken_videos")
train_dataloader["dataset"] = {train}
val_dataloader["dataset"] = {val}
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type="VideoAccuracy")
custom_hooks = [dict(type="SkippedVideosHook", interval=1)]
"""


def write_skipping_experiment(
    folder: Path,
    train: Mapping[str, int],
    val: Mapping[str, int],
    *,
    max_skip_fraction: float = 1.0,
    extra: str = "",
) -> Path:
    """Write an experiment whose lists name these videos and labels; returns the config's path."""
    configs = {}
    for name, labels in (("train", train), ("val", val)):
        write_list(folder / name, labels)
        configs[name] = dataset_config(
            folder / name,
            on_error="skip",
            max_skip_fraction=max_skip_fraction,
            test_mode=name == "val",
        )
    return write_experiment(folder, extra=EXTRA.format(**configs) + extra)
