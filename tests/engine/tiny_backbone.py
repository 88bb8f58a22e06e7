"""The tiny experiment with a real model: a frozen image transformer of pixels, and adapters."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from amflow_mm.models import ImageViT
from tests.engine.tiny_experiment import write_experiment

SIZE = {"embed_dim": 8, "depth": 2, "num_heads": 2, "mlp_dim": 12, "patch_size": 1}

MODEL = """
model = dict(
    type="AMFlowRecognizer",
    data_preprocessor=dict(
        type="ActionDataPreprocessor", mean=[0.5] * 3, std=[0.25] * 3, format_shape="NCTHW"
    ),
    backbone=dict(
        type="AMFlowViT",
        variant={size},
        family="timm",
        image_size=2,
        readout="patch",
        pretrained={pretrained},
        adapter=dict(
            type="TemporalAdapter", bottleneck_dim=4, num_frames=5, unit=dict(type="TCNUnit")
        ),
    ),
    neck=dict(type="AMFlow"),
    cls_head=dict(
        type="TemporalMeanHead", num_classes=3, in_channels=8, dropout_ratio=0.5,
        average_clips="prob",
    ),
)
"""

TRAINED_PARTS = ("backbone.norm.", "cls_head.", ".after_attention.")
"""What of these models is trained, by hand: part of the name."""

FULL = {"type": "AMFlowCheckpointHook", "interval": 1, "save_frozen": True}


def save_image_weights(path: Path, *, seed: int) -> Path:
    """Write random weights of the image model in our own names."""
    torch.manual_seed(seed)
    save_file(ImageViT(SIZE, family="timm", image_size=2).state_dict(), path)
    return path


def write_adapted_experiment(folder: Path, *, pretrained: Path | None, extra: str = "") -> Path:
    """Write data and config; returns the config's path.

    Args:
        folder: See ``write_experiment``.
        pretrained: Image weights; None leaves them random.
        extra: Lines added to the config.
    """
    source = None if pretrained is None else str(pretrained)
    model = MODEL.format(size=SIZE, pretrained=repr(source))
    return write_experiment(folder, extra=model + extra)
