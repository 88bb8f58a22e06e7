"""Configs of the peers: the same image model and data as ours, the published sizes and recipes."""

import ast
import re

import pytest
from mmengine.registry import init_default_scope

from amflow_mm.apis.complexity import ClipShape, build_on_meta, measure_complexity
from amflow_mm.models import AdaptFormerViT, AIMViT, ImageViT, STAdapterViT
from amflow_mm.models.peft import parameter_report
from tests.config_files import load, path_of

BOTH = ("before_attention", "before_mlp")
BACKBONES = {
    "aim_vitb_k400": {"type": AIMViT, "scale": 0.5, "drop_path_rate": 0.2, "num_frames": 8},
    "aim_vitb_ssv2": {
        "type": AIMViT,
        "scale": 1.0,
        "drop_path_rate": 0.2,
        "num_frames": 8,
        "num_temporal_adapters": 2,
    },
    "stadapter_vitb_k400": {
        "type": STAdapterViT,
        "positions": ("before_mlp",),
        "bottleneck_dim": 384,
    },
    "stadapter_vitb_ssv2": {"type": STAdapterViT, "positions": BOTH, "bottleneck_dim": 384},
    "adaptformer_vitb_k400": {
        "type": AdaptFormerViT,
        "bottleneck_dim": 64,
        "scale": 0.1,
        "dropout": 0.1,
    },
    "adaptformer_vitb_ssv2": {
        "type": AdaptFormerViT,
        "bottleneck_dim": 64,
        "scale": 0.1,
        "dropout": 0.1,
    },
    "finetune_vitb_k400": {"type": ImageViT, "train_all": True},
    "finetune_vitb_ssv2": {"type": ImageViT, "train_all": True},
    "probe_vitb_k400": {"type": ImageViT},
    "probe_vitb_ssv2": {"type": ImageViT},
}
# Learning rate, weight decay, clips a step, epochs, of these warm-up, label smoothing, clipping.
OURS = (3e-4, 0.05, 64, 2.5, {"max_norm": 20})
RECIPES = {
    "aim": (3e-4, 0.05, 64, 2.5, None),
    "stadapter k400": (7.5e-4, 0.01, 192, 2, None),
    "stadapter ssv2": (1e-3, 0.01, 256, 2, None),
    "adaptformer": OURS,
    "finetune": (3e-5, *OURS[1:]),
    "probe": OURS,
}
EPOCHS = {"stadapter k400": 12, "k400": 30, "ssv2": 50}
EVERY_PEER = pytest.mark.parametrize("name", BACKBONES)


def header(name: str) -> str:
    return " ".join(ast.get_docstring(ast.parse(path_of(name).read_text())).split())


def data_of(name: str) -> str:
    return name.rpartition("_")[2]


def of(table: dict, name: str):
    """Look up a method with its data, or the part of both that the table knows."""
    method, data = name.split("_")[0], data_of(name)
    return next(table[key] for key in (f"{method} {data}", method, data) if key in table)


@EVERY_PEER
def test_image_model_and_data_are_those_of_our_method(name):
    peer, ours = load(name), load(f"amflow_vitb_{data_of(name)}")
    for key in ("variant", "family", "pretrained"):
        assert peer.model.backbone[key] == ours.model.backbone[key]
    assert peer.model.data_preprocessor == ours.model.data_preprocessor
    assert peer.model.neck is None
    own = {"label_smooth_eps": None, "init_std": None} if "stadapter" in name else {}
    assert {**peer.model.cls_head, **own} == {**ours.model.cls_head, **own}
    for loader in ("val_dataloader", "test_dataloader"):
        assert peer[loader] == ours[loader]
    assert peer.train_dataloader.dataset == ours.train_dataloader.dataset


@EVERY_PEER
def test_backbone_is_the_published_one(name):
    image = {"variant": "b16", "family": "clip", "pretrained": "clip-vit-b16-openai"}
    assert dict(load(name).model.backbone) == image | BACKBONES[name]


@EVERY_PEER
def test_recipe(name):
    cfg = load(name)
    lr, decay, batch, warm_up, clipping = of(RECIPES, name)
    epochs = of(EPOCHS, name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.weight_decay) == (lr, decay)
    assert cfg.optim_wrapper.clip_grad == clipping
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin == warm_up
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[1].end == epochs
    text = header(name)
    assert f"batch {batch}, {epochs} epochs" in text
    origin = "as published" if name.startswith(("aim", "stadapter")) else "ours"
    assert f"Recipe: {origin}" in text
    assert "Expect: not run yet." in text


@EVERY_PEER
def test_what_trains(name):
    """Exactly the adapters, the two ends of the scale being all and the head alone."""
    model = build_on_meta(load(name))
    report = parameter_report(model)
    head = sum(p.numel() for p in model.cls_head.parameters())
    image = 85_799_424
    expected = {
        "aim k400": 10_659_072,
        "aim ssv2": 14_209_536,
        "stadapter k400": 7_110_144,
        "stadapter ssv2": 14_220_288,
        "adaptformer": 1_191_168,
        "finetune": image,
        "probe": 0,
    }
    assert report.trainable == head + of(expected, name)
    assert head == {"k400": 400, "ssv2": 174}[data_of(name)] * 769


@pytest.mark.parametrize(("num_frames", "published"), [(8, 606), (16, 1214), (32, 2428)])
def test_aim_costs_what_is_published(num_frames, published):
    """Three views; the paper's GFLOPs are multiply-accumulates."""
    cfg = load("aim_vitb_k400", **{"model.backbone.num_frames": num_frames})
    macs = measure_complexity(build_on_meta(cfg), ClipShape(num_frames, 224, 224)).total.macs
    assert 3 * macs / 1e9 == pytest.approx(published, rel=3e-3)


@pytest.mark.parametrize("name", ["stadapter_vitb_k400", "stadapter_vitb_ssv2"])
def test_the_header_counts_what_does_not_reach_cls(name):
    init_default_scope("amflow_mm")
    last = build_on_meta(load(name)).backbone.blocks[-1].before_mlp
    said = re.search(r"the last one, ([\d,]+) parameters, does not reach CLS", header(name))
    assert said[1] == f"{sum(p.numel() for p in last.parameters()):,}"
