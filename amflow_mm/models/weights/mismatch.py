"""Why image weights do not fit a backbone, told from the shapes of both."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

SIZE_NAMES = {
    (192, 12, 768): "ti",
    (384, 12, 1536): "s",
    (768, 12, 3072): "b",
    (1024, 24, 4096): "l",
    (1536, 40, 4096): "g",
}
"""Width, depth and hidden width of the sizes that ``ImageViT`` has a name for."""


@dataclass(frozen=True)
class Geometry:
    """What the shapes of an image transformer tell of it.

    Args:
        embed_dim: Width C.
        depth: Blocks.
        mlp_dim: Hidden width of the feed-forward layers.
        patch_size: Side of a patch in pixels.
        grid_side: Patches on a side of the image whose positions are stored.
        num_registers: Register tokens.
        is_scaled: Whether it has LayerScale.
        is_normed_first: Whether tokens are normed before the first block.
    """

    embed_dim: int
    depth: int
    mlp_dim: int
    patch_size: int
    grid_side: int
    num_registers: int
    is_scaled: bool
    is_normed_first: bool

    @property
    def variant(self) -> str:
        """The value of ``variant`` that fits."""
        name = SIZE_NAMES.get((self.embed_dim, self.depth, self.mlp_dim))
        if name is not None:
            return f"variant='{name}{self.patch_size}'"
        return (
            f"variant=dict(embed_dim={self.embed_dim}, depth={self.depth}, num_heads=?, "
            f"mlp_dim={self.mlp_dim}, patch_size={self.patch_size})"
        )


def measure(state: Mapping[str, Tensor]) -> Geometry | None:
    """Return the geometry of an image transformer, None where essential entries are missing."""
    patch = state.get("embedding.patch_embed.proj.weight")
    position = state.get("embedding.patch_position")
    hidden = next(
        (state[name] for name in ("blocks.0.mlp.fc2.weight", "blocks.0.mlp.w3.weight")
         if name in state), None,
    )  # fmt: skip
    if patch is None or position is None or hidden is None:
        return None
    blocks = {int(match[1]) for name in state if (match := re.match(r"blocks\.(\d+)\.", name))}
    registers = state.get("embedding.registers")
    return Geometry(
        embed_dim=patch.shape[0],
        depth=len(blocks),
        mlp_dim=hidden.shape[1],
        patch_size=patch.shape[-1],
        grid_side=math.isqrt(position.shape[1]),
        num_registers=0 if registers is None else registers.shape[1],
        is_scaled="blocks.0.ls1.gamma" in state,
        is_normed_first="norm_pre.weight" in state,
    )


def explain(weights: Mapping[str, Tensor], backbone: Mapping[str, Tensor]) -> str:
    """Name the likely causes and the arguments that would fit the weights.

    Args:
        weights: Image weights under our names.
        backbone: State dict of an ``ImageViT``.
    """
    theirs, ours = measure(weights), measure(backbone)
    causes = _lacking_parts(weights)
    if theirs is None or ours is None:
        causes.append("wrong layout, or a part of a model")
        return "; ".join(causes)
    if theirs.variant != ours.variant:
        causes.append(f"wrong size: set {theirs.variant}, the backbone has {ours.variant}")
    elif theirs.grid_side != ours.grid_side:
        side = theirs.grid_side * theirs.patch_size
        causes.append(f"positions of images of {side} pixels: set image_size={side}")
    if theirs.num_registers != ours.num_registers:
        causes.append(f"registers: set num_registers={theirs.num_registers}")
    causes += _family_causes(theirs, ours)
    return "; ".join(causes) or "another architecture"


def _lacking_parts(weights: Mapping[str, Any]) -> list[str]:
    causes = []
    if "norm.weight" not in weights:
        causes.append("no norm behind the last block, as in models that norm the pooled vector")
    if "embedding.cls_token" not in weights:
        causes.append("no class token, which this backbone needs")
    return causes


def _family_causes(theirs: Geometry, ours: Geometry) -> list[str]:
    causes = []
    if theirs.is_normed_first != ours.is_normed_first:
        hint = "set" if theirs.is_normed_first else "not"
        causes.append(f"norm before the first block: {hint} family='clip' or 'open_clip'")
    if theirs.is_scaled != ours.is_scaled:
        which = (
            "set family='dinov2' or 'dinov2_hf'"
            if theirs.is_scaled
            else "set family='timm' or 'mae'"
        )
        causes.append(f"LayerScale: {which}")
    return causes
