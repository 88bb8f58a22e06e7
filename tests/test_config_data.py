"""Pipelines on a real video, the user's variables, and the scripts of the documents."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope

from amflow_mm.apis.complexity import build_on_meta, read_views
from amflow_mm.datasets.video_writer import write_video
from amflow_mm.engine.config_check import check_config
from amflow_mm.engine.config_layout import DATALOADERS
from amflow_mm.engine.launch import load_config
from amflow_mm.registry import MODELS, TRANSFORMS
from tests.config_files import CUSTOM, ROOT, load, path_of, video_dataset


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """A noisy video, twice as wide as high, that stands still."""
    frame = np.random.default_rng(3).integers(0, 256, (96, 192, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("video") / "still.mp4"
    write_video(path, np.stack([frame] * 24), 12)
    return path


def run_steps(pipeline: list[dict], video: Path) -> dict:
    init_default_scope("amflow_mm")
    results = dict(filename=str(video), label=0, modality="RGB", start_index=0)
    for step in pipeline:
        results = TRANSFORMS.build(step)(results)
    return results


@pytest.mark.parametrize("loader", DATALOADERS)
@pytest.mark.parametrize("name", ["amflow_vitb_k400", "amflow_vitb_ssv2",
                                  "amflow_vitb_smarthome_cs", "amflow_vits_custom"])  # fmt: skip
def test_pipelines_yield_the_clips_that_the_header_counts(name, loader, video):
    if "ssv2" in name and loader == "train_dataloader":
        pytest.importorskip("torchvision")
    cfg = load(name)
    views = read_views(cfg)
    clips = run_steps(video_dataset(cfg[loader]).pipeline, video)["inputs"]
    num_views = views.num_views if loader == "test_dataloader" else 1
    assert tuple(clips.shape) == (num_views, 3, *views.shape)
    assert clips.dtype == torch.uint8
    assert clips.float().std() > 1


def test_crops_of_the_test_cover_the_whole_width(video):
    clips = run_steps(load("amflow_vitb_smarthome_cs").test_dataloader.dataset.pipeline, video)
    left, right, middle = clips["inputs"][:, :, 0]
    # Twice as wide as high: two crops already show every column, and the middle joins them.
    assert torch.equal(left[:, :, 112:], middle[:, :, :112])
    assert torch.equal(right[:, :, :112], middle[:, :, 112:])


def test_randaugment_treats_all_frames_of_a_clip_alike():
    pytest.importorskip("torchvision")
    step = load("amflow_vitb_ssv2").train_dataloader.dataset.pipeline[1]
    assert step.op == "RandAugment"
    frame = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    changed = 0
    for seed in range(5):
        torch.manual_seed(seed)
        frames = TRANSFORMS.build(step)(dict(imgs=[frame] * 8))["imgs"]
        assert all(np.array_equal(other, frames[0]) for other in frames)
        changed += not np.array_equal(frames[0], frame)
    assert changed >= 3


def test_left_and_right_stay_apart_on_ssv2():
    for name in ("amflow_vitb_ssv2", "amflow_vitl_ssv2"):
        steps = [step.type.__name__ for step in load(name).train_dataloader.dataset.pipeline]
        assert "Flip" not in steps
        assert {"RandomErasing", "TorchVisionWrapper"} < set(steps)
        assert load(name).model.cls_head.label_smooth_eps == 0.1


@pytest.mark.parametrize("name", CUSTOM)
def test_everything_of_the_user_stands_on_top(name, tmp_path):
    """Each variable of the block of the custom configs arrives where it is meant to."""
    text = path_of(name).read_text()
    mine = dict(
        videos='"/my/videos"', train_list='"/my/train.txt"', val_list='"/my/val.txt"',
        num_classes="11", classes_file='"/my/classes.txt"', flip_ratio="0.25",
        camera_moves="True", batch_size="3", max_epochs="5",
    )  # fmt: skip
    for variable, value in mine.items():
        text, count = re.subn(rf"(?m)^{variable} = [^#\n]+", f"{variable} = {value}  ", text)
        assert count == 1, variable
    copies = tmp_path / "configs"
    copies.mkdir()
    (copies / "_base_").symlink_to(ROOT / "configs" / "_base_")
    (copies / f"{name}.py").write_text(text)
    cfg = load_config(str(copies / f"{name}.py"))
    check_config(cfg)
    train, val = video_dataset(cfg.train_dataloader), video_dataset(cfg.val_dataloader)
    assert (train.ann_file, val.ann_file) == ("/my/train.txt", "/my/val.txt")
    assert train.data_prefix.video == val.data_prefix.video == "/my/videos"
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.train_dataloader.batch_size == cfg.val_dataloader.batch_size == 3
    flip = next(step for step in train.pipeline if step.type.__name__ == "Flip")
    assert flip.flip_ratio == 0.25
    assert cfg.model.cls_head.num_classes == 11
    assert cfg.classes_file == "/my/classes.txt"
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].end == 5
    assert type(MODELS.build(cfg.model.neck.aligner)).__name__ == "AffineAligner"


def python_blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def test_example_of_the_config_readme_works(tmp_path):
    (example,) = python_blocks("configs/README.md")
    copies = tmp_path / "configs"
    copies.mkdir()
    for path in (ROOT / "configs").iterdir():
        (copies / path.name).symlink_to(path)
    (copies / "mine.py").write_text(example)
    cfg = load_config(str(copies / "mine.py"))
    check_config(cfg)
    model = build_on_meta(cfg)
    assert type(model.neck).__name__ == "FeatureFlow"
    assert model.cls_head.dropout.p == 0.3
