"""facebookresearch/dinov2 (Apache-2.0) and timm (Apache-2.0) checkpoints: nearly our names."""

from collections.abc import Mapping

from torch import Tensor

from amflow_mm.models.weights.key_map import StateDict, rename, split_position

RULES = (
    (r"cls_token", "embedding.cls_token"),
    (r"pos_embed", "position"),
    (r"(?:register_tokens|reg_token)", "embedding.registers"),
    (r"patch_embed\.proj\.(weight|bias)", r"embedding.patch_embed.proj.\1"),
    (r"blocks\.(?:\d+\.)?(\d+)\.(norm[12]|attn\.qkv|attn\.proj|mlp\.\w+)\.(weight|bias)",
     r"blocks.\1.\2.\3"),
    (r"blocks\.(?:\d+\.)?(\d+)\.(ls[12])\.gamma", r"blocks.\1.\2.gamma"),
    (r"norm\.(weight|bias)", r"norm.\1"),
)  # fmt: skip
UNUSED = (r"mask_token", r"head(?:_dist)?\..*", r"fc_norm\..*", r"pre_logits\..*")


def matches(foreign: Mapping[str, Tensor]) -> bool:
    """Tell whether the checkpoint is of this layout."""
    return "blocks.0.attn.qkv.weight" in foreign or "blocks.0.0.attn.qkv.weight" in foreign


def convert(foreign: Mapping[str, Tensor]) -> StateDict:
    """Return the checkpoint under our names."""
    return split_position(rename(foreign, RULES, unused=UNUSED))
