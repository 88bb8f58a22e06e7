"""Which part of a model a module belongs to, and who is told when a part is at work."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, get_args

from torch import nn

from amflow_mm.models import ImageViT
from amflow_mm.models.necks import FlowNeck
from amflow_mm.models.peft import AdapterModule

Part = Literal["frozen_vit", "am_flow", "aligner", "adapters", "head"]
PARTS: tuple[Part, ...] = get_args(Part)
LABELS: dict[str, str] = {"frozen_vit": "frozen ViT", "am_flow": "AM flow"}
"""How a part is called where its name does not do."""

IMAGE_MODEL = frozenset({"embedding", "norm_pre", "blocks", "norm"})
"""Children of an ImageViT; what else a backbone built on it has, adapts it."""

ENTRANCES = ("forward", "measure", "finish", "frame_vectors")
"""Methods by which a part is put to work: a neck is also asked in two steps, a rung read out."""

Name = TypeVar("Name", bound=str)
Method = Callable[..., Any]


def find_parts(model: nn.Module) -> dict[str, Part]:
    """Return the topmost module names of each part; what stands below belongs to it too."""
    roots: dict[str, Part] = {"": "frozen_vit", "neck": "am_flow", "cls_head": "head"}
    for name, module in model.named_modules():
        if isinstance(module, FlowNeck):
            roots[f"{name}.aligner"] = "aligner"
        elif name.startswith("backbone.") and isinstance(module, AdapterModule):
            roots[name] = "adapters"
        elif name == "backbone" and isinstance(module, ImageViT):
            additions = {child for child, _ in module.named_children()} - IMAGE_MODEL
            roots |= dict.fromkeys((f"backbone.{child}" for child in additions), "adapters")
    return roots


def part_of(name: str, roots: Mapping[str, Name]) -> Name:
    """Return the part of a module or parameter: that of the nearest root above it.

    Args:
        name: Full name.
        roots: Part of each topmost module; ``""`` is the model itself.
    """
    while name not in roots:
        name = name.rpartition(".")[0]
    return roots[name]


@contextmanager
def announced(
    model: nn.Module,
    roots: Mapping[str, Name],
    wrap: Callable[[Name, Method], Method],
    entrances: Sequence[str] = ENTRANCES,
) -> Iterator[None]:
    """Let every module of a model announce its part, as long as the context lasts.

    Args:
        model: Whose modules are wrapped.
        roots: See :func:`part_of`.
        wrap: Makes of a part and a method one that tells of the part and does the same.
        entrances: Names of the methods.
    """
    wrapped = [
        (module, method, part_of(name, roots))
        for name, module in model.named_modules()
        for method in entrances
        if hasattr(module, method)
    ]
    for module, method, part in wrapped:
        setattr(module, method, wrap(part, getattr(module, method)))
    try:
        yield
    finally:
        for module, method, _ in wrapped:
            delattr(module, method)
