"""Names in the trace for what a model is doing, finer than the parts whose cost is counted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from mmengine.model import BaseDataPreprocessor
from torch import nn
from torch.profiler import record_function

from amflow_mm.apis.model_parts import ENTRANCES, LABELS, announced, find_parts, part_of
from amflow_mm.models.layers import Attention, TokenEmbedding
from amflow_mm.models.layers.mlp import Mlp, SwiGLU

Value = TypeVar("Value")

PREFIX = "part: "
"""Of the names in the trace."""

DATA, PREPROCESSING, OPTIMISER, REST = "data", "preprocessing", "optimiser", "rest"
ATTENTION, MLP, EMBEDDING = "attention", "MLP", "embedding and norms"

PARTS = (
    EMBEDDING,
    ATTENTION,
    MLP,
    *(LABELS.get(part, part) for part in ("am_flow", "aligner", "adapters", "head")),
    PREPROCESSING,
    DATA,
    OPTIMISER,
    REST,
)
"""In the order of the tables. Residual sums and what no part claims is the rest."""

KINDS: dict[type[nn.Module], str] = {
    BaseDataPreprocessor: PREPROCESSING,
    TokenEmbedding: EMBEDDING,
    nn.LayerNorm: EMBEDDING,
    Attention: ATTENTION,
    Mlp: MLP,
    SwiGLU: MLP,
}
"""Modules of the image model and around it that are told apart; those inside belong to them."""


@contextmanager
def named_regions(model: nn.Module) -> Iterator[None]:
    """Let the modules of a model mark what runs in them, as long as the context lasts."""
    with announced(model, find_regions(model), _mark, (*ENTRANCES, "loss")):
        yield


def region(name: str) -> record_function:
    """Return a context whose content stands under a name in the trace."""
    return record_function(f"{PREFIX}{name}")


def find_regions(model: nn.Module) -> dict[str, str]:
    """Return the topmost module names of each part of a recognizer."""
    parts = find_parts(model)
    roots = {name: LABELS.get(part, part) for name, part in parts.items()} | {"": REST}
    for name, module in model.named_modules():
        if part_of(name, parts) == "frozen_vit":
            for kind, label in KINDS.items():
                if isinstance(module, kind):
                    roots[name] = label
    return roots


def _mark(name: str, method: Callable[..., Value]) -> Callable[..., Value]:
    def marked(*args: Any, **kwargs: Any) -> Value:
        with region(name):
            return method(*args, **kwargs)

    return marked
