"""facebookresearch/mae (CC-BY-NC 4.0): the encoder, from files with and without the decoder.

The names are timm's. A file without the decoder is read as timm's where nothing names its source.
"""

from collections.abc import Mapping

from torch import Tensor

from amflow_mm.models.weights import timm
from amflow_mm.models.weights.key_map import KeyMap, StateDict, split_position
from amflow_mm.models.weights.normalization import IMAGENET

NORMALIZATION = IMAGENET

KEYS = KeyMap(
    layout="mae",
    marker=r"decoder_embed\.weight",
    rules=timm.KEYS.rules,
    unused=(r"mask_token", r"decoder_.*", r"head\.(weight|bias)", r"fc_norm\.(weight|bias)"),
)


def convert(foreign: Mapping[str, Tensor]) -> StateDict:
    """Return the encoder under our names."""
    return split_position(KEYS.rename(foreign), KEYS)
