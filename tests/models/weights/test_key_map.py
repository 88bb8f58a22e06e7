"""What the layouts share: renaming by a declared map, positions, projections kept apart."""

import re

import pytest
import torch

from amflow_mm.errors import WeightsError
from amflow_mm.models.weights.key_map import KeyMap, fuse, split_position

KEYS = KeyMap(
    layout="theirs",
    marker=r"a\.\d+",
    rules=((r"a\.(\d)", r"first.\1"), (r"a\..*", "second")),
    unused=(r"skip\..*",),
)
WITHOUT_CLS = KeyMap(
    layout="theirs", marker="x", rules=(), missing=("embedding.cls_position",)
)  # fmt: skip


def test_the_first_rule_that_fits_the_whole_name_wins():
    state = {"a.1": torch.zeros(1), "a.10": torch.ones(1).half(), "skip.me": torch.zeros(1)}
    found = KEYS.rename(state)
    assert found.keys() == {"first.1", "second"}
    assert found["second"] == 1
    assert found["second"].dtype == torch.float32


def test_unknown_entries_raise_with_their_number_and_the_first():
    state = {f"b.{index}": torch.zeros(1) for index in range(7)}
    names = re.escape(str([f"b.{index}" for index in range(5)]))
    with pytest.raises(WeightsError, match=f"7 entries .* theirs, first {names}.*wrong layout"):
        KEYS.rename(state)


def test_two_entries_of_one_name_raise():
    with pytest.raises(WeightsError, match=r"two entries of the checkpoint are second.*'a\.11'"):
        KEYS.rename({"a.10": torch.zeros(1), "a.11": torch.zeros(1)})


@pytest.mark.parametrize(("name", "is_theirs"), [("a.12", True), ("a.x", False), ("aa.1", False)])
def test_the_marker_must_fit_the_whole_name(name, is_theirs):
    assert KEYS.matches({"skip.me": torch.zeros(1), name: torch.zeros(1)}) is is_theirs


# ---------------------------------------------------------------- positions


def joint(num_prefix, side=3):
    return torch.arange(2.0 * (num_prefix + side**2)).view(1, -1, 2)


def test_positions_are_split_into_cls_and_patches():
    found = split_position({"position": joint(1), "other": joint(1)}, KEYS)
    assert found.keys() == {"embedding.cls_position", "embedding.patch_position", "other"}
    assert torch.equal(found["embedding.cls_position"], joint(1)[:, :1])
    assert torch.equal(found["embedding.patch_position"], joint(1)[:, 1:])


def test_positions_of_registers_are_added_to_them():
    registers = torch.full((1, 3, 2), 0.5)
    found = split_position({"position": joint(4), "embedding.registers": registers}, KEYS)
    assert torch.equal(found["embedding.registers"], joint(4)[:, 1:4] + 0.5)
    assert torch.equal(found["embedding.cls_position"], joint(4)[:, :1])
    assert torch.equal(found["embedding.patch_position"], joint(4)[:, 4:])


def test_registers_without_position_stay():
    registers = torch.full((1, 3, 2), 0.5)
    found = split_position({"position": joint(1), "embedding.registers": registers}, KEYS)
    assert found["embedding.registers"] is registers


def test_cls_may_lack_a_position_only_where_that_is_declared():
    found = split_position({"position": joint(0)}, WITHOUT_CLS)
    assert not found["embedding.cls_position"].any()
    assert torch.equal(found["embedding.patch_position"], joint(0))
    with pytest.raises(WeightsError, match="9 positions, which are not CLS and a square grid"):
        split_position({"position": joint(0)}, KEYS)


@pytest.mark.parametrize("num_positions", [2 * 3 + 1, 9 + 2])
def test_positions_of_no_square_raise(num_positions):
    state = {"position": torch.zeros(1, num_positions, 2)}
    with pytest.raises(WeightsError, match=f"{num_positions} positions.*read as theirs"):
        split_position(state, KEYS)


def test_a_checkpoint_without_positions_raises():
    with pytest.raises(WeightsError, match=r"no position embeddings.*not one of theirs"):
        split_position({}, KEYS)


# ---------------------------------------------------------------- projections kept apart


def test_parts_are_joined_in_the_order_given():
    state = {f"blocks.0.attn.{part}.bias": torch.full((2,), float(ord(part))) for part in "vkq"}
    found = fuse(state | {"blocks.0.norm1.bias": torch.zeros(2)}, ("q", "k", "v"), "qkv")
    assert found.keys() == {"blocks.0.attn.qkv.bias", "blocks.0.norm1.bias"}
    assert found["blocks.0.attn.qkv.bias"].tolist() == [ord(part) for part in "qqkkvv"]


@pytest.mark.parametrize("lacking", "qkv")
def test_a_part_that_is_not_there_raises(lacking):
    state = {f"blocks.0.attn.{part}.bias": torch.zeros(2) for part in "qkv" if part != lacking}
    with pytest.raises(WeightsError, match=rf"blocks.0.attn.qkv.bias .* not \['{lacking}'\]"):
        fuse(state, ("q", "k", "v"), "qkv")
