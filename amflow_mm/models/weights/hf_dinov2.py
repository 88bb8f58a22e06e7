"""Hugging Face DINOv2 (``Dinov2Model``, ``Dinov2WithRegistersModel``), also under a classifier.

https://github.com/huggingface/transformers (Apache-2.0), ``models/dinov2`` and
``models/dinov2_with_registers``. Version 5 renamed the modules; published files have the older
names.
"""

from collections.abc import Mapping

from torch import Tensor

from amflow_mm.models.weights.key_map import KeyMap, StateDict, fuse, split_position
from amflow_mm.models.weights.normalization import IMAGENET

NORMALIZATION = IMAGENET

_MODEL = r"(?:dinov2\.|dinov2_with_registers\.)?"
_BLOCK = _MODEL + r"encoder\.layer\.(\d+)\."
KEYS = KeyMap(
    layout="hf_dinov2",
    marker=_BLOCK + r"layer_scale1\.lambda1",
    rules=(
        (_MODEL + r"embeddings\.cls_token", "embedding.cls_token"),
        (_MODEL + r"embeddings\.position_embeddings", "position"),
        (_MODEL + r"embeddings\.register_tokens", "embedding.registers"),
        (_MODEL + r"embeddings\.patch_embeddings\.projection\.(weight|bias)",
         r"embedding.patch_embed.proj.\1"),
        (_BLOCK + r"norm([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
        (_BLOCK + r"attention\.attention\.(q|k|v)(?:uery|ey|alue)\.(weight|bias)",
         r"blocks.\1.attn.\2.\3"),
        (_BLOCK + r"attention\.(q|k|v)_proj\.(weight|bias)", r"blocks.\1.attn.\2.\3"),
        (_BLOCK + r"attention\.(?:output\.dense|o_proj)\.(weight|bias)",
         r"blocks.\1.attn.proj.\2"),
        (_BLOCK + r"layer_scale([12])\.lambda1", r"blocks.\1.ls\2.gamma"),
        (_BLOCK + r"mlp\.(fc[12])\.(weight|bias)", r"blocks.\1.mlp.\2.\3"),
        (_BLOCK + r"mlp\.weights_in\.(weight|bias)", r"blocks.\1.mlp.w12.\2"),
        (_BLOCK + r"mlp\.(gate|up)_proj\.(weight|bias)", r"blocks.\1.mlp.\2.\3"),
        (_BLOCK + r"mlp\.(?:weights_out|down_proj)\.(weight|bias)", r"blocks.\1.mlp.w3.\2"),
        (_MODEL + r"layernorm\.(weight|bias)", r"norm.\1"),
    ),
    unused=(_MODEL + r"embeddings\.mask_token", r"classifier\.(weight|bias)"),
)  # fmt: skip


def convert(foreign: Mapping[str, Tensor]) -> StateDict:
    """Return the checkpoint under our names."""
    return convert_with(KEYS, foreign)


def convert_with(keys: KeyMap, foreign: Mapping[str, Tensor]) -> StateDict:
    """Convert by a map that keeps the three projections of the attention apart."""
    state = fuse(keys.rename(foreign), ("q", "k", "v"), "qkv")
    return split_position(fuse(state, ("gate", "up"), "w12"), keys)
