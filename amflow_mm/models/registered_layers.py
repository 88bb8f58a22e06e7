"""The one place where layers that a config may name get their registry name."""

from typing import Any

from torch import nn

from amflow_mm.models import layers
from amflow_mm.registry import MODELS

for _layer in (
    layers.Adapter,
    layers.TemporalAdapter,
    layers.TransformerUnit,
    layers.TCNUnit,
    layers.LSTMUnit,
    layers.AligningEncoder,
    layers.AffineAligner,
):
    MODELS.register_module(module=_layer)

Config = dict[str, Any]


def build_unit(cfg: Config, dim: int) -> nn.Module:
    """Build a temporal unit of width ``dim`` from its config."""
    return MODELS.build(dict(cfg, dim=dim))


def build_adapter(cfg: Config, embed_dim: int) -> nn.Module:
    """Build an adapter for tokens of width ``embed_dim``, its unit first where it has one.

    ``bottleneck_dim`` defaults to a quarter of the width.
    """
    cfg = dict(cfg, embed_dim=embed_dim)
    cfg.setdefault("bottleneck_dim", embed_dim // 4)
    if "unit" in cfg:
        cfg["unit"] = build_unit(cfg["unit"], cfg["bottleneck_dim"])
    return MODELS.build(cfg)
