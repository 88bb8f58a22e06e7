"""Keys: misspelt ones are named, overrides arrive, string types work, and the traps are real."""

from collections.abc import Iterator

import pytest
from mmengine.config import Config

from amflow_mm.apis.complexity import build_on_meta, read_views
from amflow_mm.engine.config_check import ConfigError, check_config
from amflow_mm.engine.config_layout import DATALOADERS, SECTIONS
from amflow_mm.engine.launch import load_config
from amflow_mm.models.layers import AligningEncoder
from amflow_mm.registry import TRANSFORMS
from tests.config_files import load


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
            "train_dataloader.dataset.pipeline.0.steps.1.clip_len": 16,
            "test_dataloader.dataset.pipeline.0.steps.1.num_clips": 5,
        },
    )
    check_config(cfg)
    model = build_on_meta(cfg)
    assert model.neck.options["temperature"] == 1.0
    assert model.neck.aligner is None
    assert model.backbone.blocks[11].after_attention.down.weight.shape == (7, 192)
    assert cfg.train_dataloader.dataset.pipeline[0].steps[1].clip_len == 16
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
