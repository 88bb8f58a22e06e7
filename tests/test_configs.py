"""Every config: in order, buildable after a dump, as dear as its header says, and strict."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from amflow_mm.apis.complexity import ClipShape, build_on_meta, measure_complexity, read_views
from amflow_mm.datasets.video_writer import write_video
from amflow_mm.engine.config_check import ConfigError, check_config
from amflow_mm.engine.config_layout import DATALOADERS, SECTIONS
from amflow_mm.engine.launch import load_config
from amflow_mm.models.layers import AligningEncoder
from amflow_mm.models.peft import parameter_report
from amflow_mm.registry import METRICS, MODELS, TRANSFORMS

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "configs").glob("*.py"))
NAMES = [path.stem for path in FILES]
BIG = [name for name in NAMES if name.endswith(("_k400", "_ssv2", "_cs", "_cv1", "_cv2"))]
CUSTOM = ["amflow_vits_custom", "amflow_side_vits_custom"]
REQUIRED = {
    "amflow_vitb_k400", "amflow_vitl_k400", "amflow_vitb_dinov2_k400", "amflow_vitb_ssv2",
    "amflow_vitl_ssv2", "amflow_vitb_smarthome_cs", "amflow_vitb_smarthome_cv1",
    "amflow_vitb_smarthome_cv2", "amflow_vits_motion", "amflow_vits_motion_moving_camera",
    "amflow_vits_custom",
}  # fmt: skip
COST = re.compile(
    r"Cost: ([\d,]+) trainable of ([\d,]+) parameters; ([\d.]+) GMACs a view of (\d+) frames of "
    r"(\d+) x (\d+), ([\d.]+) a video of (\d+) views?\."
)


def path_of(name: str) -> Path:
    return ROOT / "configs" / f"{name}.py"


def load(name: str, **options) -> Config:
    return load_config(str(path_of(name)), options)


@functools.cache
def header(name: str) -> str:
    return ast.get_docstring(ast.parse(path_of(name).read_text()))


def is_control(name: str) -> bool:
    return header(name).startswith("Control for ")


def video_dataset(loader: Config) -> Config:
    dataset = loader.dataset
    while "dataset" in dataset:
        dataset = dataset.dataset
    return dataset


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


@pytest.mark.parametrize("name", BIG + CUSTOM)
def test_expectation_says_that_nothing_was_measured(name):
    assert re.search(r"^Expect: .*not run yet", header(name), re.MULTILINE)


def test_headers_and_code_agree_about_the_camera():
    aligners = {name: (load(name).model.neck or {}).get("aligner") for name in BIG}
    for name, aligner in aligners.items():
        is_moving = "smarthome" not in name
        assert f"{'moving' if is_moving else 'static'} camera" in header(name)
        assert (aligner is not None) == is_moving
        if is_moving:
            assert (aligner.type, aligner.warp) == (AligningEncoder, "affine")


@pytest.mark.parametrize("name", NAMES)
def test_transforms_are_mmaction2s(name):
    init_default_scope("amflow_mm")
    cfg = load(name)
    for loader in DATALOADERS:
        for step in video_dataset(cfg[loader]).pipeline:
            assert step.type.__module__.startswith("mmaction.datasets.transforms.")
            # By name alone, `Resize` would be mmcv's if it were looked up in the wrong registry.
            assert TRANSFORMS.get(step.type.__name__) is step.type


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
    results = [dict(pred=row, label=label) for label, row in enumerate(np.eye(7))]
    found = {f"{metric.prefix}/{key}" for key in metric.compute_metrics(results)}
    assert found == {"acc/top1", "acc/top5", "acc/mean1"}
    wanted = "acc/mean1" if "smarthome" in name else "acc/top1"
    assert cfg.default_hooks.checkpoint.save_best == wanted


@pytest.mark.parametrize("name", NAMES)
def test_help_for_missing_data_exists(name):
    document = re.fullmatch(r"(docs/\S+\.md), section (.+)", load(name).data_help)
    if document:
        lines = (ROOT / document[1]).read_text().splitlines()
        assert f"## {document[2]}" in lines
    else:
        assert (ROOT / load(name).data_help.split()[1]).is_file()


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_described(name):
    assert (
        load(name).model.backbone.pretrained.split("/")[-1]
        in (ROOT / "docs" / "weights.md").read_text()
    )


def built_dicts(node, path: str) -> Iterator[tuple[str, dict]]:
    """Yield every dict with a ``type`` below ``node``, with its path as check_config writes it."""
    if isinstance(node, dict):
        if "type" in node:
            yield path, node
        for key, child in node.items():
            yield from built_dicts(child, f"{path}.{key}")
    elif isinstance(node, (list, tuple)):
        for index, child in enumerate(node):
            yield from built_dicts(child, f"{path}[{index}]")


@pytest.mark.parametrize("name", ["amflow_vitb_ssv2", "amflow_side_vits_custom"])
def test_a_misspelt_key_anywhere_is_reported_with_its_place(name, tmp_path):
    load(name).dump(tmp_path / "dumped.py")
    cfg = load_config(str(tmp_path / "dumped.py"))
    planted = []
    for section in (*SECTIONS, *DATALOADERS):
        for path, part in built_dicts(cfg.get(section), section):
            # Torchvision's transforms are named by a string; they raise when they are built.
            if not part["type"].endswith("TorchVisionWrapper"):
                part["zzz"] = 1
                planted.append(f"{path}.zzz: ")
    assert len(planted) > 40
    with pytest.raises(ConfigError) as raised:
        check_config(cfg)
    reported = {f"{line.strip().split(': ')[0]}: " for line in str(raised.value).splitlines()[1:]}
    assert reported == set(planted)


def test_a_misspelt_key_of_a_torchvision_transform_raises():
    pytest.importorskip("torchvision")
    step = load("amflow_vitb_ssv2").train_dataloader.dataset.pipeline[4]
    check_config(dict(train_pipeline=[step]))
    with pytest.raises(TypeError, match="magnitud"):
        TRANSFORMS.build(dict(step, magnitud=7))


def test_command_line_reaches_nested_keys_and_list_items():
    cfg = load(
        "amflow_vitb_k400",
        **{
            "model.neck.temperature": 1.0,
            "model.neck.aligner": None,
            "model.backbone.variant": "ti16",
            "model.backbone.adapter.bottleneck_dim": 7,
            "model.cls_head.in_channels": 192,
            "train_dataloader.dataset.pipeline.1.clip_len": 16,
            "test_dataloader.dataset.pipeline.1.num_clips": 5,
        },
    )
    check_config(cfg)
    model = build_on_meta(cfg)
    assert model.neck.options["temperature"] == 1.0
    assert model.neck.aligner is None
    assert model.backbone.blocks[11].after_attention.down.weight.shape == (7, 192)
    assert cfg.train_dataloader.dataset.pipeline[1].clip_len == 16
    assert read_views(cfg).num_views == 5


def test_command_line_misspelling_is_reported():
    cfg = load("amflow_vitb_k400", **{"model.neck.temprature": 1.0})
    with pytest.raises(ConfigError, match=r"model\.neck\.temprature.*did you mean 'temperature'"):
        check_config(cfg)


def test_tensorboard_is_one_line_away():
    cfg = load("amflow_vitb_k400")
    cfg.visualizer.vis_backends.append(dict(type="TensorboardVisBackend"))
    check_config(cfg)


CLASSIC = """
_base_ = ["base.py"]
model = dict(
    backbone=dict(type="AMFlowViT", variant="ti16", family="timm",
        adapter=dict(type="TemporalAdapter", unit=dict(type="TCNUnit"))),
    neck=dict(type="AMFlow", aligner=dict(type="AligningEncoder", embed_dim=192)))
optim_wrapper = dict(type="AutocastOptimWrapper", optimizer=dict(type="AdamW", lr=0.1),
    constructor="TrainableOptimWrapperConstructor")
custom_hooks = [dict(type="FlowStatisticsHook", interval=7), dict(type="ParameterReportHook")]
train_dataloader = dict(batch_size=2, dataset=dict(type="FrozenFeatureDataset",
    dataset=dict(type="VideoDataset", ann_file="train.txt",
        pipeline=[dict(type="SampleFrames", clip_len=8), dict(type="PackActionInputs")])))
"""
CLASSIC_BASE = """
default_scope = "amflow_mm"
model = dict(
    type="AMFlowRecognizer",
    data_preprocessor=dict(type="ActionDataPreprocessor", mean=[0.0] * 3, std=[1.0] * 3,
        format_shape="NCTHW"),
    cls_head=dict(type="TemporalMeanHead", num_classes=5, in_channels=192))
"""


def test_classic_config_with_our_types_as_strings_works(tmp_path):
    (tmp_path / "base.py").write_text(CLASSIC_BASE)
    (tmp_path / "classic.py").write_text(CLASSIC)
    cfg = load_config(str(tmp_path / "classic.py"))
    check_config(cfg)
    model = build_on_meta(cfg)
    assert type(model.backbone).__name__ == "AMFlowViT"
    assert type(model.neck.aligner) is AligningEncoder
    cfg.model.neck.alinger = None
    with pytest.raises(ConfigError, match=r"model\.neck\.alinger.*did you mean 'aligner'"):
        check_config(cfg)


class TestTrapsOfTheReadme:
    """What configs/README.md warns of is still so; a trap that is gone should leave the table."""

    BASE = "part = dict(depth=3)\nmodel = dict(part=part)\n"
    READ = "from mmengine.config import read_base\nwith read_base():\n    from .base import *\n"

    @pytest.fixture
    def parse(self, tmp_path):
        (tmp_path / "base.py").write_text(self.BASE)

        def parse(text: str, name: str = "config") -> Config:
            (tmp_path / f"{name}.py").write_text(text)
            return Config.fromfile(tmp_path / f"{name}.py")

        return parse

    def test_styles_do_not_mix(self, parse):
        parse(self.READ, "modern")
        with pytest.raises(RuntimeError, match="inheritance chain"):
            parse('_base_ = ["modern.py"]\n')

    def test_nothing_imported_can_be_called(self, parse):
        with pytest.raises(RuntimeError, match=r"^$"):
            parse("import math\ndepth = math.ceil(2.5)\n")

    def test_imported_constants_are_stand_ins(self, parse):
        with pytest.raises(TypeError, match="not subscriptable"):
            parse("from amflow_mm.apis.complexity import PARTS\nfirst = PARTS[0]\n")

    def test_names_are_cut_from_what_they_were_used_in(self, parse):
        assert parse(f"{self.READ}part.update(depth=7)\n").model.part.depth == 3
        assert parse(f"{self.READ}model.part.update(depth=7)\n").model.part.depth == 7

    def test_variables_are_read_once(self, parse):
        cfg = parse("num_classes = 6\nhead = dict(num_classes=num_classes)\n")
        cfg.merge_from_dict(dict(num_classes=9))
        assert cfg.head.num_classes == 6

    def test_nothing_can_be_put_into_itself_by_update(self, parse):
        with pytest.raises(RecursionError):
            parse(f"{self.READ}model.update(part=dict(part=model.part))\n")
        cfg = parse(f"{self.READ}model.part = dict(part=model.part)\n")
        assert cfg.model.part.part.depth == 3


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
    step = load("amflow_vitb_ssv2").train_dataloader.dataset.pipeline[4]
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


def test_script_of_the_data_document_writes_usable_lists(tmp_path, monkeypatch):
    videos = tmp_path / "data" / "custom" / "videos"
    for name in ("wave", "bow"):
        (videos / name).mkdir(parents=True)
        for index in range(7):
            (videos / name / f"{index}.mp4").touch()
    monkeypatch.chdir(tmp_path)
    (script,) = python_blocks("docs/data.md")
    exec(script, {})
    train = (tmp_path / "data/custom/train.txt").read_text().splitlines()
    val = (tmp_path / "data/custom/val.txt").read_text().splitlines()
    assert val == ["bow/4.mp4 0", "wave/4.mp4 1"]
    assert len(train) == 12
    assert not set(train) & set(val)
    assert (tmp_path / "data/custom/classes.txt").read_text() == "bow\nwave\n"


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


def test_readme_lists_every_config():
    first_section, *_ = (ROOT / "configs" / "README.md").read_text().split("\n## ")
    listed = set()
    for row in re.findall(r"^\| (`.+?) \|", first_section, re.MULTILINE):
        names = re.findall(r"`(\w+)`", row)
        base = re.sub(r"_(cs|moving_camera|uniform)$", "", names[0])
        listed |= {base + name if name.startswith("_") else name for name in names}
    assert listed == set(NAMES)
