"""Configs of the models that are compared: the published forms, on one image transformer."""

from collections.abc import Callable
from typing import Any

from mmaction.models import ActionDataPreprocessor
from mmengine.config import Config

from amflow_mm.apis.model_benchmark.case import Case
from amflow_mm.models import (
    AdaptFormerViT,
    AIMViT,
    AMFlow,
    AMFlowRecognizer,
    AMFlowSideViT,
    AMFlowViT,
    FrozenFeaturePreprocessor,
    ImageViT,
    STAdapterViT,
    TemporalMeanHead,
)
from amflow_mm.models.backbones.vit_layouts import Size, parse_variant
from amflow_mm.models.layers import (
    AligningEncoder,
    LSTMUnit,
    TCNUnit,
    TemporalAdapter,
    TransformerUnit,
)

NUM_CLASSES = 400
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)

FROZEN = "frozen ViT"
IN_BLOCK = "AM Flow in_block, TCN"
SIDE, SIDE_CACHED = "AM Flow side", "AM Flow side, cached"
AIM = "AIM"

Parts = tuple[dict[str, Any], dict[str, Any] | None]
"""Config of a backbone without its image model, and of its neck."""


def model_names() -> tuple[str, ...]:
    """Return the names of all models, in the order of the tables."""
    return tuple(_RECIPES)


def model_config(name: str, variant: str | dict[str, int], case: Case) -> Config:
    """Return the config of a model with random weights.

    Args:
        name: One of :func:`model_names`.
        variant: Size of the image transformer, see ``ImageViT``.
        case: AIM has a position for each frame, and the frozen model beside a ladder a precision of
            its own, which is that of the case.

    Raises:
        ValueError: There is no such model.
    """
    if name not in _RECIPES:
        raise ValueError(f"models={name!r} must be of {', '.join(_RECIPES)}")
    size, _ = parse_variant(variant)
    backbone, neck = _RECIPES[name](size, case)
    image_model = {"variant": variant, "family": "clip"}
    if not isinstance(variant, str):  # of no published size: positions for a small frame
        image_model["image_size"] = 2 * variant["patch_size"]
    model = {
        "type": AMFlowRecognizer,
        "data_preprocessor": _preprocessor(name),
        "backbone": image_model | backbone,
        "neck": neck,
        "cls_head": {
            "type": TemporalMeanHead,
            "num_classes": NUM_CLASSES,
            "in_channels": size.embed_dim,
        },
    }
    return Config({"model": model, "default_scope": "amflow_mm"})


def _preprocessor(name: str) -> dict[str, Any]:
    kind = FrozenFeaturePreprocessor if name in (SIDE, SIDE_CACHED) else ActionDataPreprocessor
    return {"type": kind, "mean": MEAN, "std": STD, "format_shape": "NCTHW"}


def _in_block(
    unit: type, *, aligner: bool = False, is_upper: bool = False
) -> Callable[[Size, Case], Parts]:
    """Return what makes the parts; ``is_upper``: adapters in the upper two thirds alone."""

    def parts(size: Size, case: Case) -> Parts:
        adapter = {
            "type": TemporalAdapter,
            "bottleneck_dim": size.embed_dim // 4,
            "unit": {"type": unit},
            "num_frames": max(case.frames, 32),
        }
        encoder = {"type": AligningEncoder, "embed_dim": size.embed_dim, "warp": "affine"}
        neck = {"type": AMFlow, "normalize": "column", "aligner": encoder if aligner else None}
        layers = list(range(size.depth // 3 if is_upper else 0, size.depth))
        return {"type": AMFlowViT, "adapter": adapter, "adapter_layers": layers}, neck

    return parts


def _side(size: Size, case: Case) -> Parts:
    backbone = {
        "type": AMFlowSideViT,
        "layers": [quarter * size.depth // 4 - 1 for quarter in (1, 2, 3, 4)],
        "side_dim": size.embed_dim // 4,
        "unit": {"type": TCNUnit, "dilations": (1, 2), "is_depthwise": False},
        "pooling": "global",
        "flow_as": "both",
        "flow_grid": 8,
        "num_frames": max(case.frames, 32),
        "output": "sum",
        "frozen_dtype": "bfloat16" if case.dtype == "bf16" else "float32",
    }
    return backbone, {"type": AMFlow, "normalize": "column"}


def _aim(size: Size, case: Case) -> Parts:
    del size
    return {"type": AIMViT, "num_frames": case.frames, "drop_path_rate": 0.2}, None


def _st_adapter(size: Size, case: Case) -> Parts:
    del case
    options = {"positions": ("before_mlp",), "bottleneck_dim": size.embed_dim // 2}
    return {"type": STAdapterViT, **options}, None


def _adaptformer(size: Size, case: Case) -> Parts:
    del case
    return {"type": AdaptFormerViT, "bottleneck_dim": size.embed_dim // 12}, None


def _plain(train_all: bool) -> Callable[[Size, Case], Parts]:
    def parts(size: Size, case: Case) -> Parts:
        del size, case
        return {"type": ImageViT, "train_all": train_all}, None

    return parts


_RECIPES: dict[str, Callable[[Size, Case], Parts]] = {
    FROZEN: _plain(train_all=False),
    IN_BLOCK: _in_block(TCNUnit),
    "AM Flow in_block, TCN, upper blocks": _in_block(TCNUnit, is_upper=True),
    "AM Flow in_block, transformer": _in_block(TransformerUnit),
    "AM Flow in_block, LSTM": _in_block(LSTMUnit),
    "AM Flow in_block, TCN, moving camera": _in_block(TCNUnit, aligner=True),
    SIDE: _side,
    SIDE_CACHED: _side,
    AIM: _aim,
    "ST-Adapter": _st_adapter,
    "AdaptFormer": _adaptformer,
    "full fine-tuning": _plain(train_all=True),
}
