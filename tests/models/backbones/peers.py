"""The peers in the tiny size, and what their tests share."""

from functools import partial

import numpy as np
import torch
from torch import nn

from amflow_mm.models.backbones import AdaptFormerViT, AIMViT, ImageViT, STAdapterViT
from amflow_mm.models.peft import freeze_except
from tests.models.tiny import DEPTH, GRID, HEADS, VIT, T, clips_of
from tests.reference.basics import Array, sub_weights, to_numpy, weights_of
from tests.reference.peers import adaptformer_block, aim_block, st_adapter_block

BOTH = ("before_attention", "before_mlp")
FIRST = tuple(range(DEPTH - 1))


def aim(**options):
    return AIMViT(**{"num_frames": T, **VIT, **options})


def st_adapter(positions=BOTH, **options):
    return STAdapterViT(positions, **{**VIT, **options})


def adaptformer(**options):
    return AdaptFormerViT(**{"bottleneck_dim": 10, **VIT, **options})


# With the CLS readout the last adapter before an MLP cannot learn; of these all can.
PEERS = {
    "aim": aim,
    "aim, two temporal adapters": lambda **options: aim(num_temporal_adapters=2, **options),
    "st_adapter": lambda **options: st_adapter(**{"readout": "patch", **options}),
    "adaptformer": lambda **options: adaptformer(**{"dropout": 0.0, **options}),
    "full fine-tuning": lambda **options: ImageViT(train_all=True, **{**VIT, **options}),
}
ADAPTED = [name for name in PEERS if name != "full fine-tuning"]


def training(model: nn.Module) -> nn.Module:
    """Freeze what is not declared, and let every feature send a gradient."""
    freeze_except(model)
    model.zero_grad()
    features = model(clips_of()).features
    weights = torch.linspace(-1, 1, features.numel()).view_as(features).sin()
    (features * weights).sum().backward()
    return model


def step(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad


ORACLES = {
    "aim": partial(aim_block, scale=0.7),
    "aim, two temporal adapters": partial(aim_block, scale=0.7),
    "st_adapter": partial(st_adapter_block, grid=GRID),
    "adaptformer": partial(adaptformer_block, scale=0.7),
}
OPTIONS = {name: {} if name == "st_adapter" else {"scale": 0.7} for name in ORACLES}
LAYOUTS = {
    "clip": {"activation": "quick_gelu", "eps": 1e-5},
    "dinov2": {"activation": "gelu", "eps": 1e-6},
}


def neutral_weights(model: nn.Module, layer: int) -> dict[str, Array]:
    """A block's weights under the names of the oracle; the adapters' names stay."""
    out = {}
    for key, value in sub_weights(weights_of(model), f"blocks.{layer}.").items():
        renamed = key.removeprefix("attn.").removeprefix("mlp.").removesuffix(".gamma")
        out[renamed] = value
    return out


def blocks_by_loops(name: str, model: nn.Module, tokens: torch.Tensor) -> Array:
    """All blocks of a model in double precision, clip by clip: ``[B, T, N, C]``."""
    clips = []
    for clip in to_numpy(tokens):
        for layer in range(DEPTH):
            weights = neutral_weights(model, layer)
            clip = ORACLES[name](clip, weights, num_heads=HEADS, **LAYOUTS[model.family])
        clips.append(clip)
    return np.array(clips)
