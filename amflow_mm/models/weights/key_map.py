"""Helpers for tables that map a foreign checkpoint's names to ours."""

import math
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

StateDict = dict[str, Tensor]


def rename(
    foreign: Mapping[str, Tensor], rules: Iterable[tuple[str, str]], *, unused: Iterable[str] = ()
) -> StateDict:
    """Rename every entry by the first rule whose pattern matches its whole name.

    Args:
        foreign: The checkpoint.
        rules: Pairs of a regular expression and a replacement.
        unused: Patterns of entries that are left out on purpose.

    Raises:
        ValueError: An entry that no rule knows; the checkpoint is of another layout.
    """
    renamed: StateDict = {}
    unknown = []
    for name, value in foreign.items():
        if any(re.fullmatch(pattern, name) for pattern in unused):
            continue
        for pattern, replacement in rules:
            if match := re.fullmatch(pattern, name):
                renamed[match.expand(replacement)] = value
                break
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"{len(unknown)} entries of the checkpoint fit no rule, first {unknown[:5]}: "
            "it is of another layout or another model"
        )
    return renamed


def split_position(state: StateDict) -> StateDict:
    """Split joint positions (1, 1 + P, C) in entry ``position`` into CLS and patches.

    A square number of positions is that of the patches alone: timm leaves CLS without one where
    there are registers, which is a position of zero.

    Raises:
        ValueError: The checkpoint has no position embeddings.
    """
    if "position" not in state:
        raise ValueError("the checkpoint has no position embeddings: it is of another layout")
    state = dict(state)
    position = state.pop("position")
    position = position.reshape(1, -1, position.shape[-1])
    if math.isqrt(position.shape[1]) ** 2 == position.shape[1]:
        position = torch.cat([torch.zeros_like(position[:, :1]), position], dim=1)
    state["embedding.cls_position"] = position[:, :1].clone()
    state["embedding.patch_position"] = position[:, 1:].clone()
    return state
