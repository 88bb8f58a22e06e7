"""openai/CLIP (MIT): the image tower, from the published TorchScript archive or a state dict."""

from collections.abc import Mapping

from torch import Tensor

from amflow_mm.models.weights.key_map import KeyMap, StateDict, split_position
from amflow_mm.models.weights.normalization import CLIP

NORMALIZATION = CLIP

_BLOCK = r"visual\.transformer\.resblocks\.(\d+)\."
KEYS = KeyMap(
    layout="openai_clip",
    marker=r"visual\.class_embedding",
    rules=(
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
    ),
    unused=(
        r"visual\.proj",
        # The text tower, and sizes that the archives keep among the weights.
        r"transformer\..*",
        r"token_embedding\.weight",
        r"positional_embedding",
        r"ln_final\.(weight|bias)",
        r"text_projection",
        r"logit_scale",
        r"input_resolution|context_length|vocab_size",
    ),
)


def convert(foreign: Mapping[str, Tensor]) -> StateDict:
    """Return the image tower under our names."""
    return convert_with(KEYS, foreign)


def convert_with(keys: KeyMap, foreign: Mapping[str, Tensor]) -> StateDict:
    """Convert by a map whose class token is a plain vector."""
    state = keys.rename(foreign)
    if "embedding.cls_token" in state:
        state["embedding.cls_token"] = state["embedding.cls_token"].reshape(1, 1, -1)
    return split_position(state, keys)
