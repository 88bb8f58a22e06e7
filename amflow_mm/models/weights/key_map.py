"""Declared maps from a foreign checkpoint's names to ours, and what several of them need."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amflow_mm.errors import WeightsError

StateDict = dict[str, Tensor]

CLS_POSITION = "embedding.cls_position"


@dataclass(frozen=True)
class KeyMap:
    """What a layout calls things: an entry is renamed, left out on purpose, or refused.

    All names are regular expressions that must fit the whole name.

    Args:
        layout: Name of the layout, for messages.
        marker: An entry that tells this layout from those tried after it.
        rules: Pairs of a foreign name and ours; the first that fits counts.
        unused: Entries that are left out on purpose.
        missing: Entries of ours that a checkpoint of this layout may lack; they are zero then.
    """

    layout: str
    marker: str
    rules: Sequence[tuple[str, str]]
    unused: Sequence[str] = ()
    missing: Sequence[str] = ()

    def matches(self, foreign: Mapping[str, Tensor]) -> bool:
        """Tell whether the checkpoint has the entry that marks this layout."""
        return any(re.fullmatch(self.marker, name) for name in foreign)

    def rename(self, foreign: Mapping[str, Tensor]) -> StateDict:
        """Return the entries under our names, in single precision.

        Raises:
            WeightsError: An entry is neither known nor declared unused, or two get one name.
        """
        renamed: StateDict = {}
        unknown = []
        for name, value in foreign.items():
            if any(re.fullmatch(pattern, name) for pattern in self.unused):
                continue
            ours = self._our_name(name)
            if ours is None:
                unknown.append(name)
            elif ours in renamed:
                raise WeightsError(f"two entries of the checkpoint are {ours}, one is {name!r}")
            else:
                renamed[ours] = value.float()
        if unknown:
            raise WeightsError(
                f"{len(unknown)} entries of the checkpoint fit no rule of the layout "
                f"{self.layout}, first {unknown[:5]}: likely cause: wrong layout, or a model that "
                "is not a plain image transformer; docs/weights.md lists what can be read"
            )
        return renamed

    def _our_name(self, name: str) -> str | None:
        for pattern, replacement in self.rules:
            if match := re.fullmatch(pattern, name):
                return match.expand(replacement)
        return None


def split_position(state: StateDict, keys: KeyMap) -> StateDict:
    """Split joint positions (1, prefix + P, C) in entry ``position`` into CLS, registers, patches.

    Registers have no position of their own here; where the checkpoint gives them one, it is
    added to them, which comes to the same. CLS may be without one only in layouts that declare
    it missing.

    Raises:
        WeightsError: The checkpoint has no positions, or not those of a square grid.
    """
    if "position" not in state:
        raise WeightsError(
            f"the checkpoint has no position embeddings: likely cause: wrong layout, it is not "
            f"one of {keys.layout}"
        )
    state = dict(state)
    position = state.pop("position")
    position = position.reshape(1, -1, position.shape[-1])
    registers = state.get("embedding.registers")
    num_registers = 0 if registers is None else registers.shape[1]
    num_prefix = _count_prefix(position.shape[1], num_registers, keys)
    if num_prefix > 1:
        state["embedding.registers"] = registers + position[:, 1:num_prefix]
    cls = position[:, :1] if num_prefix else torch.zeros_like(position[:, :1])
    state[CLS_POSITION] = cls.clone()
    state["embedding.patch_position"] = position[:, num_prefix:].clone()
    return state


def _count_prefix(num_positions: int, num_registers: int, keys: KeyMap) -> int:
    """Return how many positions come before those of the patches, whose number is a square."""
    allowed = {1, 1 + num_registers} | ({0} if CLS_POSITION in keys.missing else set())
    for num_prefix in sorted(allowed):
        num_patches = num_positions - num_prefix
        if num_patches > 0 and math.isqrt(num_patches) ** 2 == num_patches:
            return num_prefix
    raise WeightsError(
        f"the checkpoint has {num_positions} positions, which are not CLS and a square grid: "
        f"likely cause: wrong layout (read as {keys.layout}), or images that are not square"
    )


def fuse(state: StateDict, parts: Sequence[str], whole: str) -> StateDict:
    """Join entries whose names differ in one word, one of ``parts``, along their first axis.

    ``blocks.0.attn.q.weight``, ``.k.`` and ``.v.`` become ``blocks.0.attn.qkv.weight``.

    Raises:
        WeightsError: One of the parts is not there.
    """
    fused: StateDict = {}
    groups: dict[str, StateDict] = {}
    for name, value in state.items():
        if match := re.fullmatch(rf"(.*\.)({'|'.join(parts)})(\..*)", name):
            groups.setdefault(f"{match[1]}{whole}{match[3]}", {})[match[2]] = value
        else:
            fused[name] = value
    for name, group in groups.items():
        if lacking := [part for part in parts if part not in group]:
            raise WeightsError(
                f"of {name} the checkpoint has {sorted(group)} but not {lacking}: likely cause: a "
                "damaged file, or projections without bias, which cannot be represented"
            )
        fused[name] = torch.cat([group[part] for part in parts])
    return fused
