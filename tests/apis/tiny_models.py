"""Configs of models small enough to count by hand."""

from mmaction.models import ActionDataPreprocessor
from mmengine.config import Config

from amflow_mm.apis.complexity import ClipShape
from amflow_mm.models import (
    AMFlow,
    AMFlowRecognizer,
    AMFlowSideViT,
    AMFlowViT,
    TemporalMeanHead,
)
from amflow_mm.models.layers import TCNUnit, TemporalAdapter

# Tiny: C 40, L 3, H 5, hidden 88, patches of 7; T 5, P 3 x 2, N 7; R 12; K 3.
C, L, HIDDEN, R, K = 40, 3, 88, 12, 3
T, P, N = 5, 6, 7
SHAPE = ClipShape(T, 21, 14)
VIT = dict(embed_dim=C, depth=L, num_heads=5, mlp_dim=HIDDEN, patch_size=7)


def make_config(backbone: dict, neck: dict | None, num_classes: int = K, width: int = C) -> Config:
    model = dict(
        type=AMFlowRecognizer,
        data_preprocessor=dict(
            type=ActionDataPreprocessor, mean=[0.0] * 3, std=[1.0] * 3, format_shape="NCTHW"
        ),
        backbone=backbone,
        neck=neck,
        cls_head=dict(type=TemporalMeanHead, num_classes=num_classes, in_channels=width),
    )
    return Config(dict(model=model))


def in_block(neck: dict | None = None, unit: dict | None = None, **options) -> Config:
    adapter = dict(type=TemporalAdapter, bottleneck_dim=R, unit=unit or dict(type=TCNUnit))
    backbone = dict(
        type=AMFlowViT, variant=VIT, family="timm", image_size=14, adapter=adapter, **options
    )
    return make_config(backbone, neck or dict(type=AMFlow))


def side(neck: dict | None = None, **options) -> Config:
    backbone = dict(
        type=AMFlowSideViT,
        variant=VIT,
        family="timm",
        image_size=14,
        layers=(0, 2),
        side_dim=R,
        **{"unit": dict(type=TCNUnit), **options},
    )
    return make_config(backbone, neck or dict(type=AMFlow))
