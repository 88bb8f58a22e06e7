"""Models of a few thousand parameters, and the clips that go through them."""

from typing import Any

import torch
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from amflow_mm.models import AMFlowRecognizer
from amflow_mm.testing import fixed_init_, fixed_tensor

C, DEPTH, HEADS, PATCH = 24, 3, 3, 7
B, T, ROWS, COLUMNS = 2, 5, 2, 3
GRID, P = (ROWS, COLUMNS), ROWS * COLUMNS
K = 4
SIZE = {"embed_dim": C, "depth": DEPTH, "num_heads": HEADS, "mlp_dim": 40, "patch_size": PATCH}
FAMILIES = ("clip", "dinov2", "timm")
UNITS = ("TransformerUnit", "TCNUnit", "LSTMUnit")
VIT = {"variant": SIZE, "family": "dinov2", "image_size": 21}
ENCODER = {"type": "AligningEncoder", "embed_dim": C, "bottleneck_dim": 10, "num_heads": 2}
PREPROCESSOR = {
    "type": "FrozenFeaturePreprocessor",
    "mean": (110.0, 120.0, 130.0),
    "std": (50.0, 60.0, 70.0),
}


def adapter(unit: str = "TCNUnit", **options: Any) -> dict[str, Any]:
    return {"type": "TemporalAdapter", "bottleneck_dim": 10, "unit": {"type": unit}, **options}


def in_block(**options: Any) -> dict[str, Any]:
    return {"type": "AMFlowViT", "adapter": adapter(), **VIT, **options}


def side(**options: Any) -> dict[str, Any]:
    unit = {"type": "TCNUnit", "spatial_size": 3}
    return {"type": "AMFlowSideViT", "unit": unit, "layers": (0, 2), "side_dim": 10,
            **VIT, **options}  # fmt: skip


def clips_of(num: int = B, num_frames: int = T, rows: int = ROWS, columns: int = COLUMNS) -> Tensor:
    return fixed_tensor((num, 3, num_frames, PATCH * rows, PATCH * columns), tag="clips")


def static_clips() -> Tensor:
    return clips_of()[:, :, :1].expand(-1, -1, T, -1, -1).contiguous()


def videos_of(num_views: int = 1, num: int = B) -> list[Tensor]:
    """Decoded videos, (V, 3, T, height, width) of bytes each."""
    views = fixed_tensor((num, num_views, 3, T, PATCH * ROWS, PATCH * COLUMNS), tag="videos")
    return list((views * 50 + 128).clamp(0, 255).to(torch.uint8))


def recognizer(backbone: dict, neck: dict | None = None, **options: Any) -> AMFlowRecognizer:
    """Build a recognizer as the Runner does, but for its head without dropout."""
    init_default_scope("amflow_mm")
    head = {"type": "TemporalMeanHead", "num_classes": K, "in_channels": C, "dropout_ratio": 0.0}
    head |= options.pop("head", {})
    return AMFlowRecognizer(backbone, head, PREPROCESSOR, neck=neck, **options)


def with_image_weights(adapted: nn.Module, image: nn.Module) -> nn.Module:
    """Give a backbone the weights of an image model; its adapters stay as they are."""
    adapted.load_state_dict(adapted.state_dict() | image.state_dict())
    return adapted


def names_with_gradient(model: nn.Module) -> set[str]:
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.abs().sum() > 0
    }


def trainable_names(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def fixed(model: nn.Module) -> nn.Module:
    """Give every weight a value, so that nothing starts silent."""
    return fixed_init_(model)
