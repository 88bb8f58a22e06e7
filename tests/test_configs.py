"""Every config: in order, buildable after a dump, as dear as its header says, and strict."""

import ast
import functools
import re

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from amflow_mm.apis.complexity import ClipShape, build_on_meta, measure_complexity, read_views
from amflow_mm.datasets import FrozenFeatureDataset
from amflow_mm.datasets.transforms import VideoDecode, VideoInit
from amflow_mm.datasets.transforms.cached_clip import flat_steps
from amflow_mm.datasets.video_list_dataset import VideoListDataset
from amflow_mm.engine.config_check import check_config
from amflow_mm.engine.config_layout import DATALOADERS
from amflow_mm.engine.hooks import FrozenFeatureHook
from amflow_mm.engine.launch import load_config
from amflow_mm.models.layers import AffineAligner, AligningEncoder
from amflow_mm.models.peft import parameter_report
from amflow_mm.registry import METRICS, TRANSFORMS
from tests.config_files import BIG, CUSTOM, NAMES, PEERS, ROOT, load, path_of, video_dataset

REQUIRED = {
    "amflow_vitb_k400", "amflow_vitl_k400", "amflow_vitb_dinov2_k400", "amflow_vitb_ssv2",
    "amflow_vitl_ssv2", "amflow_vitb_smarthome_cs", "amflow_vitb_smarthome_cv1",
    "amflow_vitb_smarthome_cv2", "amflow_vits_motion", "amflow_vits_motion_moving_camera",
    "amflow_vits_custom", "amflow_side_vitb_k400", "amflow_side_vitb_ssv2",
    "amflow_side_vitb_smarthome_cs",
}  # fmt: skip
COST = re.compile(
    r"Cost: ([\d,]+) trainable of ([\d,]+) parameters; ([\d.]+) GMACs a view of (\d+) frames of "
    r"(\d+) x (\d+), ([\d.]+) a video of (\d+) views?\."
)


@functools.cache
def header(name: str) -> str:
    return ast.get_docstring(ast.parse(path_of(name).read_text()))


def is_control(name: str) -> bool:
    return header(name).startswith("Control for ")


def shapes(model: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def test_no_config_is_missing():
    assert set(NAMES) >= REQUIRED


@pytest.mark.parametrize("name", NAMES)
def test_dump_and_reload_build_the_same_model(name, tmp_path):
    cfg = load(name)
    check_config(cfg)
    cfg.dump(tmp_path / "dumped.py")
    again = load_config(str(tmp_path / "dumped.py"))
    check_config(again)
    model = build_on_meta(again)
    assert shapes(model) == shapes(build_on_meta(cfg))
    assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_header_says_what_it_is_and_how_to_run_it(name):
    text = header(name)
    first, command = text.splitlines()[0], re.search(r"^Run: +(.+)$", text, re.MULTILINE)[1]
    assert first.endswith(".")
    assert f"configs/{name}.py" in command
    tool = next(word for word in command.split() if word.startswith("tools/"))
    assert (ROOT / tool).is_file()
    assert is_control(name) or re.search(r"^Cost: ", text, re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in NAMES if "Cost:" in header(name)])
def test_cost_is_what_the_header_says(name):
    said = COST.search(" ".join(header(name).split()))
    assert said, f"the line 'Cost:' must read like {COST.pattern}"
    trainable, total, gmacs, *shape, gmacs_of_video, num_views = said.groups()
    cfg = load(name)
    model, views = build_on_meta(cfg), read_views(cfg)
    cost = measure_complexity(model, ClipShape(*map(int, shape))).total
    report = parameter_report(model)
    assert (f"{report.trainable:,}", f"{report.total:,}") == (trainable, total)
    assert (cost.trainable, cost.parameters) == (report.trainable, report.total)
    assert views.shape in (ClipShape(*map(int, shape)), None)
    assert views.num_views == int(num_views)
    assert f"{cost.macs / 1e9:.1f}" == gmacs
    assert f"{views.num_views * cost.macs / 1e9:.1f}" == gmacs_of_video


@pytest.mark.parametrize("name", BIG + CUSTOM + PEERS)
def test_expectation_says_that_nothing_was_measured(name):
    assert re.search(r"^Expect: .*not run yet", header(name), re.MULTILINE)


def test_headers_and_code_agree_about_the_camera():
    aligners = {name: (load(name).model.neck or {}).get("aligner") for name in BIG}
    for name, aligner in aligners.items():
        is_moving = "smarthome" not in name
        assert f"{'moving' if is_moving else 'static'} camera" in header(name)
        assert (aligner is not None) == is_moving
        if is_moving:
            # What is trained inside the flow could not be kept beside a ladder.
            is_side = "_side_" in name
            assert aligner.type is (AffineAligner if is_side else AligningEncoder)
            assert aligner.get("warp", "affine") == "affine"


@pytest.mark.parametrize("name", NAMES)
def test_transforms_are_mmaction2s_but_for_decoding(name):
    init_default_scope("amflow_mm")
    cfg = load(name)
    for loader in DATALOADERS:
        for kind, _ in flat_steps(video_dataset(cfg[loader]).pipeline):
            ours = kind in (VideoInit, VideoDecode)
            assert ours or kind.__module__.startswith("mmaction.datasets.transforms.")
            # By name alone, `Resize` would be mmcv's if it were looked up in the wrong registry.
            assert TRANSFORMS.get(kind.__name__) is kind


@pytest.mark.parametrize("name", NAMES)
def test_schedule_ends_with_the_training(name):
    cfg = load(name)
    warm_up, cosine = cfg.param_scheduler
    assert warm_up.get("begin", 0) == 0
    assert 0 < warm_up.end == cosine.begin
    assert cosine.end == cfg.train_cfg.max_epochs
    assert cosine.get("T_max", cosine.end - cosine.begin) == cosine.end - cosine.begin
    assert cosine.eta_min < cfg.optim_wrapper.optimizer.lr
    assert cfg.auto_scale_lr.base_batch_size > 0


DISK = re.compile(r"Disk: .*?\b([\d.]+) (?:MB a clip )?as int8: ([\d.]+) ([GT]B) for training and")
NUM_CLIPS = {"k400": 240_436 + 19_796, "ssv2": 168_913 + 24_777, "cs": 8_831 + 1_854}
"""Training and validation, as in docs/datasets."""


@pytest.mark.parametrize("name", [name for name in BIG if "_side_" in name])
def test_features_take_what_the_header_says(name):
    cfg = load(name)
    backbone = build_on_meta(cfg).backbone
    num_frames, width, num_layers = 8, backbone.embed_dim, len(backbone.layers)
    num_patches = (224 // backbone.patch_size) ** 2
    small = 4 * num_frames * (width + num_layers * num_patches) + 8 * num_layers * width
    size = num_layers * num_frames * num_patches * width + small
    a_clip, total, unit = DISK.search(" ".join(header(name).split())).groups()
    assert f"{size / 1e6:.1f}" == a_clip
    needed = size * NUM_CLIPS[name.rpartition("_")[2]]
    assert f"{needed / {'GB': 1e9, 'TB': 1e12}[unit]:.3g}" == total
    assert needed < cfg.max_gigabytes * 1e9
    hook = next(h for h in cfg.custom_hooks if h.type is FrozenFeatureHook)
    assert (hook.kept_as, hook.max_gigabytes) == ("int8", cfg.max_gigabytes)


@pytest.mark.parametrize("name", [name for name in BIG if "_side_" in name])
@pytest.mark.parametrize("is_kept", [False, True])
def test_features_are_kept_as_the_key_on_top_says(name, is_kept, tmp_path):
    text, count = re.subn(
        r"(?m)^keep_features = \w+", f"keep_features = {is_kept}", path_of(name).read_text()
    )
    assert count == 1
    (tmp_path / "_base_").symlink_to(ROOT / "configs" / "_base_")
    (tmp_path / f"{name}.py").write_text(text.replace("num_draws = 1", "num_draws = 3"))
    cfg = load_config(str(tmp_path / f"{name}.py"))
    check_config(cfg)
    for loader, num_draws in (("train_dataloader", 3), ("val_dataloader", 1)):
        dataset = cfg[loader].dataset
        assert (dataset.type is FrozenFeatureDataset) == is_kept
        assert not is_kept or dataset.get("num_draws", 1) == num_draws
    assert cfg.test_dataloader.dataset.type is VideoListDataset


@pytest.mark.parametrize("name", BIG)
def test_learning_rate_is_for_eight_gpus(name):
    cfg = load(name)
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 64
    assert cfg.optim_wrapper.optimizer.lr == 3e-4
    assert f"{cfg.train_cfg.max_epochs} epochs" in header(name) or "as amflow" in header(name)


@pytest.mark.parametrize("name", NAMES)
def test_best_checkpoint_is_chosen_by_a_metric_that_exists(name):
    cfg = load(name)
    init_default_scope("amflow_mm")
    metric = METRICS.build(cfg.val_evaluator)
    results = [dict(pred=v, label=n, is_left_out=False) for n, v in enumerate(np.eye(7))]
    found = {f"{metric.prefix}/{key}" for key in metric.compute_metrics(results)}
    assert found == {"acc/top1", "acc/top5", "acc/mean1", "acc/left_out"}
    wanted = "acc/mean1" if "smarthome" in name else "acc/top1"
    assert cfg.default_hooks.checkpoint.save_best == wanted


@pytest.mark.parametrize("name", NAMES)
def test_help_for_missing_data_exists(name):
    words = load(name).data_help.split()  # a document, or the command of a tool
    assert (ROOT / words[words[0] == "python"]).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_described(name):
    assert (
        load(name).model.backbone.pretrained.split("/")[-1]
        in (ROOT / "docs" / "weights.md").read_text()
    )


@pytest.mark.parametrize("name", CUSTOM)
def test_custom_loaders_work_without_workers(name):
    """Torch refuses persistent workers where there are none."""
    cfg = load(name)
    for loader in DATALOADERS:
        is_persistent = cfg[loader].get("persistent_workers", False)
        DataLoader([], num_workers=0, persistent_workers=is_persistent)


def test_readme_lists_every_config():
    first_section, *_ = (ROOT / "configs" / "README.md").read_text().split("\n## ")
    listed = set()
    for row in re.findall(r"^\| (`.+?) \|", first_section, re.MULTILINE):
        names = re.findall(r"`(\w+)`", row)
        base = re.sub(r"_(cs|moving_camera|uniform)$", "", names[0])
        listed |= {base + name if name.startswith("_") else name for name in names}
    assert listed == set(NAMES)
