"""Tiny runs on frozen features, kept or not: two epochs on a few videos."""

import itertools

from mmengine.config import Config

from amflow_mm.engine.runner import AMFlowRunner
from tests.datasets.array_videos import dataset_of
from tests.models.tiny import PREPROCESSOR, C, side

NUM_TRAIN, NUM_VAL, VAL_VIEWS = 6, 4, 2
RUNS = itertools.count()
COLUMN = {"type": "AMFlow", "normalize": "column"}


def make_config(folder, *steps, is_kept=True, backbone=None, neck=COLUMN, num_draws=1, **options):
    """Config of a run of two epochs; the frozen model sees two videos at a time everywhere."""
    run = next(RUNS)
    datasets = {
        "train": dataset_of(folder / "videos/train.txt", *steps),
        "val": dataset_of(folder / "videos/val.txt", num_clips=VAL_VIEWS, test_mode=True),
    }
    if is_kept:
        for split, draws in (("train", num_draws), ("val", 1)):
            datasets[split] = {
                "type": "FrozenFeatureDataset",
                "cache_dir": str(folder / "cache"),
                "num_draws": draws,
                "dataset": datasets[split],
            }
    loaders = {
        f"{split}_dataloader": {
            "batch_size": 2,
            "num_workers": 0,
            "sampler": {"type": "DefaultSampler", "shuffle": split == "train"},
            "collate_fn": {"type": "pseudo_collate"},
            "dataset": dataset,
        }
        for split, dataset in datasets.items()
    }
    head = {"type": "TemporalMeanHead", "num_classes": 2, "in_channels": C, "average_clips": "prob"}
    config = {
        "default_scope": "amflow_mm",
        "experiment_name": f"frozen_features_{run}",
        "work_dir": str(folder / f"run_{run}"),
        "randomness": {"seed": 5},
        "model": {
            "type": "AMFlowRecognizer",
            "backbone": backbone or side(),
            "neck": neck,
            "cls_head": head,
            "data_preprocessor": PREPROCESSOR,
        },
        **loaders,
        "test_dataloader": loaders["val_dataloader"],
        "val_evaluator": {"type": "AccMetric"},
        "test_evaluator": {"type": "AccMetric"},
        "train_cfg": {"by_epoch": True, "max_epochs": 2},
        "val_cfg": {},
        "test_cfg": {},
        "optim_wrapper": {
            "optimizer": {"type": "AdamW", "lr": 0.01},
            "constructor": "TrainableOptimWrapperConstructor",
        },
        "visualizer": {
            "type": "ActionVisualizer",
            "vis_backends": [{"type": "LocalVisBackend"}],
        },
        "custom_hooks": [{"type": "FrozenFeatureHook", "batch_size": 2, "num_workers": 0}],
        "log_level": "WARNING",
    }
    return Config(config | options)


def train(folder, *steps, **options):
    runner = AMFlowRunner.from_cfg(make_config(folder, *steps, **options))
    runner.train()
    return runner


def folders_of(folder, kind):
    return sorted(path for path in (folder / "cache").iterdir() if path.name.startswith(kind))


def contents_of(folder):
    return {path: path.read_bytes() for path in (folder / "cache").rglob("*.bin")}
