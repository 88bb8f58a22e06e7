"""mlfoundations/open_clip (MIT): the image tower of its own ViTs, also from its training files.

Names are OpenAI's, and then: ``module.`` before each where it was trained on several devices, a
text tower of its own under ``text.``, a ``logit_bias``. A checkpoint without any of these is read
as OpenAI's, which comes to the same. The activation is not in the file: exact GELU unless the
model's name says quickgelu.
"""

from collections.abc import Mapping

from torch import Tensor

from amflow_mm.models.weights import openai_clip
from amflow_mm.models.weights.key_map import KeyMap, StateDict
from amflow_mm.models.weights.normalization import CLIP

NORMALIZATION = CLIP

_MAYBE = r"(?:module\.)?"
KEYS = KeyMap(
    layout="open_clip",
    marker=r"module\.visual\.class_embedding|logit_bias|text\..*",
    rules=tuple((_MAYBE + name, ours) for name, ours in openai_clip.KEYS.rules),
    unused=(
        *(_MAYBE + f"(?:{name})" for name in openai_clip.KEYS.unused),
        _MAYBE + r"text\..*",
        _MAYBE + r"logit_bias",
        _MAYBE + r"attn_mask",
    ),
)


def convert(foreign: Mapping[str, Tensor]) -> StateDict:
    """Return the image tower under our names."""
    return openai_clip.convert_with(KEYS, foreign)
