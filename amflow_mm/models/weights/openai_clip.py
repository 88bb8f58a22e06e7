"""openai/CLIP (MIT) checkpoints, as state dict: the image tower, without its projection."""

from collections.abc import Mapping

from torch import Tensor

from amflow_mm.models.weights.key_map import StateDict, rename, split_position

_BLOCK = r"visual\.transformer\.resblocks\.(\d+)\."
RULES = (
    (r"visual\.class_embedding", "embedding.cls_token"),
    (r"visual\.positional_embedding", "position"),
    (r"visual\.conv1\.weight", "embedding.patch_embed.proj.weight"),
    (r"visual\.ln_pre\.(weight|bias)", r"norm_pre.\1"),
    (_BLOCK + r"ln_([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
    (_BLOCK + r"attn\.in_proj_(weight|bias)", r"blocks.\1.attn.qkv.\2"),
    (_BLOCK + r"attn\.out_proj\.(weight|bias)", r"blocks.\1.attn.proj.\2"),
    (_BLOCK + r"mlp\.c_fc\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (_BLOCK + r"mlp\.c_proj\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
    (r"visual\.ln_post\.(weight|bias)", r"norm.\1"),
)
UNUSED = (r"visual\.proj", r"(?!visual\.).*")  # the projection and the text tower


def matches(foreign: Mapping[str, Tensor]) -> bool:
    """Tell whether the checkpoint is of this layout."""
    return "visual.class_embedding" in foreign


def convert(foreign: Mapping[str, Tensor]) -> StateDict:
    """Return the image tower under our names, in single precision."""
    state = rename(foreign, RULES, unused=UNUSED)
    state["embedding.cls_token"] = state["embedding.cls_token"].reshape(1, 1, -1)
    return {name: value.float() for name, value in split_position(state).items()}
