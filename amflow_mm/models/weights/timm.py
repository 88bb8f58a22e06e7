"""huggingface/pytorch-image-models (timm, Apache-2.0) ViTs: AugReg, DeiT, DeiT III, DINO, CLIP.

Also facebookresearch/deit, whose names timm took over. What timm has and the family ``timm`` here
has not is put into the weights, exactly:

    LayerScale (DeiT III, timm's DINOv2)   into the projection that it scales
    distillation token (DeiT)              a register with a position: num_registers=1

A gated feed-forward layer (timm's DINOv2 ViT-g) is told by the width of its ``fc1``.
"""

import re
from collections.abc import Mapping

from torch import Tensor

from amflow_mm.models.weights.key_map import CLS_POSITION, KeyMap, StateDict, split_position

NORMALIZATION = None
"""Differs by model: Inception's for most of AugReg, ImageNet's for DeiT."""

_BLOCK = r"blocks\.(\d+)\."
KEYS = KeyMap(
    layout="timm",
    marker=r"blocks\.0\.attn\.qkv\.weight",
    rules=(
        (r"cls_token", "embedding.cls_token"),
        (r"pos_embed", "position"),
        (r"reg_token|dist_token", "embedding.registers"),
        (r"patch_embed\.proj\.(weight|bias)", r"embedding.patch_embed.proj.\1"),
        (r"norm_pre\.(weight|bias)", r"norm_pre.\1"),
        (_BLOCK + r"(norm[12]|attn\.qkv|attn\.proj|mlp\.fc[12])\.(weight|bias)",
         r"blocks.\1.\2.\3"),
        (_BLOCK + r"(?:ls([12])\.gamma|gamma_([12]))", r"blocks.\1.ls\2\3.gamma"),
        (r"norm\.(weight|bias)", r"norm.\1"),
    ),
    unused=(r"head(?:_dist)?\.(weight|bias)", r"fc_norm\.(weight|bias)", r"pre_logits\..*"),
    missing=(CLS_POSITION,),  # models with registers, and DeiT III, give CLS none
)  # fmt: skip

_SCALED = {"ls1": "attn.proj", "ls2": "mlp.fc2"}


def convert(foreign: Mapping[str, Tensor]) -> StateDict:
    """Return the checkpoint under our names, without LayerScale."""
    state = split_position(KEYS.rename(foreign), KEYS)
    return name_gated_layers(fold_layer_scale(state))


def fold_layer_scale(state: StateDict) -> StateDict:
    """Multiply each scale into the rows of the projection before it: gamma (W x + b)."""
    folded = {name: value for name, value in state.items() if not name.endswith(".gamma")}
    for name in state.keys() - folded.keys():
        block, _, scale = name.removesuffix(".gamma").rpartition(".")
        gamma = state[name]
        for kind, factor in (("weight", gamma[:, None]), ("bias", gamma)):
            target = f"{block}.{_SCALED[scale]}.{kind}"
            if target in folded:
                folded[target] = folded[target] * factor
    return folded


def name_gated_layers(state: StateDict) -> StateDict:
    """Rename ``fc1`` and ``fc2`` where the one gives twice what the other takes."""
    first, second = (state.get(f"blocks.0.mlp.{name}.weight") for name in ("fc1", "fc2"))
    if first is None or second is None or first.shape[0] != 2 * second.shape[1]:
        return state
    names = {".mlp.fc1.": ".mlp.w12.", ".mlp.fc2.": ".mlp.w3."}
    return {
        re.sub(r"\.mlp\.fc[12]\.", lambda match: names[match[0]], name): value
        for name, value in state.items()
    }
