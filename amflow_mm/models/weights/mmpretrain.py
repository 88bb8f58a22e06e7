"""mmpretrain (Apache-2.0) ``VisionTransformer`` checkpoints."""

from collections.abc import Mapping

from torch import Tensor

from amflow_mm.models.weights.key_map import StateDict, rename, split_position

_MAYBE = r"(?:backbone\.)?"
_BLOCK = _MAYBE + r"layers\.(\d+)\."
RULES = (
    (_MAYBE + r"cls_token", "embedding.cls_token"),
    (_MAYBE + r"pos_embed", "position"),
    (_MAYBE + r"patch_embed\.projection\.(weight|bias)", r"embedding.patch_embed.proj.\1"),
    (_MAYBE + r"pre_norm\.(weight|bias)", r"norm_pre.\1"),
    (_BLOCK + r"ln([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
    (_BLOCK + r"attn\.(qkv|proj)\.(weight|bias)", r"blocks.\1.attn.\2.\3"),
    (_BLOCK + r"attn\.gamma1\.weight", r"blocks.\1.ls1.gamma"),
    (_BLOCK + r"ffn\.gamma2\.weight", r"blocks.\1.ls2.gamma"),
    (_BLOCK + r"ffn\.layers\.0\.0\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (_BLOCK + r"ffn\.layers\.1\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
    (_BLOCK + r"ffn\.(w12|w3)\.(weight|bias)", r"blocks.\1.mlp.\2.\3"),
    (_MAYBE + r"ln1\.(weight|bias)", r"norm.\1"),
)
UNUSED = (r"head\..*", r"data_preprocessor\..*")


def matches(foreign: Mapping[str, Tensor]) -> bool:
    """Tell whether the checkpoint is of this layout."""
    names = ("layers.0.ln1.weight", "backbone.layers.0.ln1.weight")
    return any(name in foreign for name in names)


def convert(foreign: Mapping[str, Tensor]) -> StateDict:
    """Return the checkpoint under our names."""
    return split_position(rename(foreign, RULES, unused=UNUSED))
