"""From video files to a metric: AM Flow learns what frames on their own cannot tell."""

from pathlib import Path

import decord
import pytest
from mmengine.config import Config

from amflow_mm.datasets.motion_dataset import make_dataset
from amflow_mm.datasets.video_writer import write_video
from amflow_mm.engine.runner import AMFlowRunner

SIDE, NUM_FRAMES, NUM_CLIPS, EPOCHS = 56, 8, 8, 25
SIZE = {"embed_dim": 24, "depth": 2, "num_heads": 3, "mlp_dim": 40, "patch_size": 7}
VIT = {"variant": SIZE, "family": "timm", "image_size": SIDE}
ADAPTER = {"type": "TemporalAdapter", "unit": {"type": "TCNUnit"}, "flow_as": "both",
           "bottleneck_dim": 16, "num_frames": NUM_FRAMES}  # fmt: skip


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Videos of the classes left and right, and each of them backwards under the other label.

    Every class then holds the same frames, so that only their order tells.
    """
    folder = make_dataset(
        tmp_path_factory.mktemp("motion"),
        num_train=4 * NUM_CLIPS,
        num_val=8,
        num_frames=NUM_FRAMES,
        size=SIDE,
        seed=3,
    )
    lines = []
    for line in (folder / "train.txt").read_text().splitlines():
        name, label = line.split()
        if label not in ("0", "1"):
            continue
        backwards = name.replace(".mp4", "_backwards.mp4")
        frames = decord.VideoReader(str(folder / name)).get_batch(range(NUM_FRAMES)).asnumpy()
        write_video(folder / backwards, frames[::-1].copy(), fps=16)
        lines += [f"{name} {label}\n", f"{backwards} {1 - int(label)}\n"]
    assert len(lines) == 2 * NUM_CLIPS
    (folder / "left_right.txt").write_text("".join(lines))
    return folder


def train_and_test(videos: Path, work_dir: Path, backbone: dict, neck: dict | None) -> float:
    """Return the accuracy on the clips that were learnt."""
    pipeline = [
        {"type": "DecordInit", "num_threads": 1},
        {"type": "SampleFrames", "clip_len": NUM_FRAMES, "frame_interval": 1, "num_clips": 1},
        {"type": "DecordDecode"},
        {"type": "FormatShape", "input_format": "NCTHW"},
        {"type": "PackActionInputs"},
    ]
    loader = {
        "batch_size": 8,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": True},
        "collate_fn": {"type": "pseudo_collate"},
        "dataset": {
            "type": "VideoDataset",
            "ann_file": str(videos / "left_right.txt"),
            "data_prefix": {"video": str(videos)},
            "pipeline": pipeline,
        },
    }
    head = {"type": "TemporalMeanHead", "num_classes": 2, "in_channels": SIZE["embed_dim"],
            "dropout_ratio": 0.0, "average_clips": "prob"}  # fmt: skip
    config = {
        "default_scope": "amflow_mm",
        "experiment_name": work_dir.name,
        "work_dir": str(work_dir),
        "randomness": {"seed": 1},
        "model": {
            "type": "AMFlowRecognizer",
            "backbone": backbone,
            "neck": neck,
            "cls_head": head,
            "data_preprocessor": {
                "type": "ActionDataPreprocessor",
                "mean": [123.675, 116.28, 103.53],
                "std": [58.395, 57.12, 57.375],
                "format_shape": "NCTHW",
            },
        },
        "train_dataloader": loader,
        "test_dataloader": {**loader, "sampler": {"type": "DefaultSampler", "shuffle": False}},
        "test_evaluator": {"type": "AccMetric"},
        "train_cfg": {"by_epoch": True, "max_epochs": EPOCHS},
        "test_cfg": {},
        "optim_wrapper": {
            "optimizer": {"type": "AdamW", "lr": 0.01, "weight_decay": 0.0},
            "constructor": "TrainableOptimWrapperConstructor",
        },
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "interval": EPOCHS}},
        "visualizer": {"type": "ActionVisualizer", "vis_backends": [{"type": "LocalVisBackend"}]},
        "log_level": "WARNING",
    }
    runner = AMFlowRunner.from_cfg(Config(config))
    runner.train()
    return runner.test()["acc/top1"]


@pytest.mark.slow
def test_am_flow_learns_the_direction_of_motion(videos, tmp_path):
    backbone = {"type": "AMFlowViT", "adapter": ADAPTER, **VIT}
    accuracy = train_and_test(videos, tmp_path / "am_flow", backbone, {"type": "AMFlow"})
    assert accuracy == 1.0


@pytest.mark.slow
def test_the_same_adapters_without_motion_stay_at_chance(videos, tmp_path):
    backbone = {"type": "AMFlowViT", "adapter": ADAPTER, **VIT}
    accuracy = train_and_test(videos, tmp_path / "uniform", backbone, {"type": "UniformFlow"})
    assert 0.3 < accuracy < 0.7


@pytest.mark.slow
def test_frames_on_their_own_stay_at_chance(videos, tmp_path):
    accuracy = train_and_test(videos, tmp_path / "probe", {"type": "ImageViT", **VIT}, None)
    assert 0.3 < accuracy < 0.7
