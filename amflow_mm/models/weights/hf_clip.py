"""Hugging Face CLIP (``CLIPModel``, ``CLIPVisionModel``, also with projection): the image tower.

https://github.com/huggingface/transformers (Apache-2.0), ``models/clip``; ``pre_layrnorm`` is its
spelling.
"""

from collections.abc import Mapping

from torch import Tensor

from amflow_mm.models.weights.key_map import KeyMap, StateDict, fuse
from amflow_mm.models.weights.normalization import CLIP
from amflow_mm.models.weights.openai_clip import convert_with

NORMALIZATION = CLIP

_TOWER = r"(?:vision_model\.)?"
_BLOCK = _TOWER + r"encoder\.layers\.(\d+)\."
KEYS = KeyMap(
    layout="hf_clip",
    marker=_TOWER + r"embeddings\.class_embedding",
    rules=(
        (_TOWER + r"embeddings\.class_embedding", "embedding.cls_token"),
        (_TOWER + r"embeddings\.position_embedding\.weight", "position"),
        (_TOWER + r"embeddings\.patch_embedding\.weight", "embedding.patch_embed.proj.weight"),
        (_TOWER + r"pre_layrnorm\.(weight|bias)", r"norm_pre.\1"),
        (_BLOCK + r"layer_norm([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
        (_BLOCK + r"self_attn\.([qkv])_proj\.(weight|bias)", r"blocks.\1.attn.\2.\3"),
        (_BLOCK + r"self_attn\.out_proj\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
        (_BLOCK + r"mlp\.(fc[12])\.(weight|bias)", r"blocks.\1.mlp.\2.\3"),
        (_TOWER + r"post_layernorm\.(weight|bias)", r"norm.\1"),
    ),
    unused=(
        r"text_model\..*",
        r"(?:visual|text)_projection\.weight",
        r"logit_scale",
        _TOWER + r"embeddings\.position_ids",  # older versions saved this buffer
    ),
)


def convert(foreign: Mapping[str, Tensor]) -> StateDict:
    """Return the image tower under our names."""
    return fuse(convert_with(KEYS, foreign), ("q", "k", "v"), "qkv")
