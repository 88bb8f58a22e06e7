"""The models are what their names say: what trains, and as much of it as in the configs."""

import pytest
from mmengine.config import Config

from amflow_mm.apis.complexity import build_on_meta
from amflow_mm.apis.model_benchmark.case import Case
from amflow_mm.apis.model_benchmark.recipes import (
    AIM,
    FROZEN,
    IN_BLOCK,
    SIDE,
    SIDE_CACHED,
    model_config,
    model_names,
)
from amflow_mm.models.peft import parameter_report
from amflow_mm.resources import configs_dir
from tests.apis.model_benchmark.tiny import CASE, VARIANT

TRAINED = {
    FROZEN: {"cls_head"},
    IN_BLOCK: {"after_attention", "norm", "cls_head"},
    "AM Flow in_block, TCN, upper blocks": {"after_attention", "norm", "cls_head"},
    "AM Flow in_block, transformer": {"after_attention", "norm", "cls_head"},
    "AM Flow in_block, LSTM": {"after_attention", "norm", "cls_head"},
    "AM Flow in_block, TCN, moving camera": {"after_attention", "norm", "cls_head", "aligner"},
    SIDE: {"rungs", "side_norm", "side_up", "cls_head"},
    SIDE_CACHED: {"rungs", "side_norm", "side_up", "cls_head"},
    AIM: {
        *("over_time", "after_attention", "beside_mlp", "temporal_position"),
        *("norm", "cls_head"),
    },
    "ST-Adapter": {"before_mlp", "cls_head"},
    "AdaptFormer": {"beside_mlp", "norm", "cls_head"},
}


def owner(name: str) -> str:
    """Return the first word of a parameter's name that is not a container."""
    words = [word for word in name.split(".") if not word.isdigit()]
    return next(word for word in words if word not in ("backbone", "neck", "blocks"))


def trained_owners(model) -> set[str]:
    return {owner(name) for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("name", TRAINED)
def test_what_trains_is_what_the_name_says(name):
    model = build_on_meta(model_config(name, VARIANT, CASE))
    assert trained_owners(model) == TRAINED[name]


def test_full_fine_tuning_trains_everything():
    model = build_on_meta(model_config("full fine-tuning", VARIANT, CASE))
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_every_model_has_its_claim():
    assert {*TRAINED, "full fine-tuning"} == set(model_names())


@pytest.mark.parametrize(
    ("name", "config"),
    [
        (FROZEN, "probe_vitb_k400"),
        ("AM Flow in_block, TCN, moving camera", "amflow_vitb_k400"),
        (AIM, "aim_vitb_k400"),
        ("ST-Adapter", "stadapter_vitb_k400"),
        ("AdaptFormer", "adaptformer_vitb_k400"),
        ("full fine-tuning", "finetune_vitb_k400"),
    ],
)
def test_models_are_as_large_as_those_of_the_configs(name, config):
    ours = build_on_meta(model_config(name, "b16", Case(8, 224, 1, "fp32")))
    cfg = Config.fromfile(configs_dir() / f"{config}.py")
    theirs = build_on_meta(cfg)
    assert parameter_report(ours) == parameter_report(theirs)


def test_units_differ():
    sizes = {
        parameter_report(build_on_meta(model_config(name, VARIANT, CASE))).trainable
        for name in model_names()
        if name.startswith("AM Flow in_block")
    }
    assert len(sizes) == 5  # TCN in all and in the upper blocks, two other units, an aligner


def test_unknown_model_is_refused():
    with pytest.raises(ValueError, match="models='GPT' must be of frozen ViT, "):
        model_config("GPT", VARIANT, CASE)


def test_the_frozen_model_beside_a_ladder_has_the_precision_of_the_case():
    for dtype, expected in (("fp32", "float32"), ("bf16", "bfloat16")):
        cfg = model_config(SIDE, VARIANT, Case(3, 16, 1, dtype))
        assert cfg.model.backbone.frozen_dtype == expected


@pytest.mark.parametrize(("variant", "layers"), [("b16", [2, 5, 8, 11]), ("l14", [5, 11, 17, 23])])
def test_a_ladder_stands_on_the_quarters_of_the_model(variant, layers):
    cfg = model_config(SIDE, variant, CASE)
    assert cfg.model.backbone.layers == layers
