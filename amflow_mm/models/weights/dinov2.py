"""facebookresearch/dinov2 (Apache-2.0): ViT-S, B, L and g, with and without registers.

Nearly our names; sharded training saves its blocks in chunks, ``blocks.<chunk>.<block>``.
"""

from collections.abc import Mapping

from torch import Tensor

from amflow_mm.models.weights.key_map import KeyMap, StateDict, split_position
from amflow_mm.models.weights.normalization import IMAGENET

NORMALIZATION = IMAGENET

_BLOCK = r"blocks\.(?:\d+\.)?(\d+)\."
KEYS = KeyMap(
    layout="dinov2",
    marker=r"mask_token",
    rules=(
        (r"cls_token", "embedding.cls_token"),
        (r"pos_embed", "position"),
        (r"register_tokens", "embedding.registers"),
        (r"patch_embed\.proj\.(weight|bias)", r"embedding.patch_embed.proj.\1"),
        (_BLOCK + r"(norm[12]|attn\.qkv|attn\.proj)\.(weight|bias)", r"blocks.\1.\2.\3"),
        (_BLOCK + r"mlp\.(fc[12]|w12|w3)\.(weight|bias)", r"blocks.\1.mlp.\2.\3"),
        (_BLOCK + r"ls([12])\.gamma", r"blocks.\1.ls\2.gamma"),
        (r"norm\.(weight|bias)", r"norm.\1"),
    ),
    unused=(r"mask_token",),
)


def convert(foreign: Mapping[str, Tensor]) -> StateDict:
    """Return the checkpoint under our names."""
    return split_position(KEYS.rename(foreign), KEYS)
