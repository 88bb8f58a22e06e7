"""Published checkpoints as safetensors: nothing lost, nothing run."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from amflow_mm.engine.checkpoint import read_checkpoint
from amflow_mm.engine.checkpoint_io import write_checkpoint
from amflow_mm.engine.errors import CheckpointError
from amflow_mm.engine.migration import CHECKPOINT_FORMAT
from tests.engine.tiny_experiment import assert_same


def make_checkpoint():
    whole = torch.arange(12.0).reshape(3, 4)
    return {
        "format": CHECKPOINT_FORMAT,
        "frozen": {"name": "random", "sha256": "0" * 64, "left_out": ["backbone.a"]},
        "meta": {"cfg": "model = dict()\n", "training": {"epoch": 3, "seed": None}},
        # Views of one tensor, of which one is not contiguous, and another type.
        "state_dict": {"a": whole[:2], "b": whole.T, "c": torch.tensor(7), "d": whole[0].half()},
    }


def test_written_and_read_it_is_the_same(tmp_path):
    write_checkpoint(make_checkpoint(), tmp_path / "x.safetensors")
    assert_same(read_checkpoint(tmp_path / "x.safetensors"), make_checkpoint(), "read")


def test_others_read_the_tensors_and_the_metadata(tmp_path):
    write_checkpoint(make_checkpoint(), tmp_path / "x.safetensors")
    with safe_open(tmp_path / "x.safetensors", framework="np") as file:
        assert sorted(file.keys()) == ["a", "b", "c", "d"]
        assert file.metadata()["format"] == "pt"
        assert json.loads(file.metadata()["amflow_mm_checkpoint"])["meta"]["training"]["epoch"] == 3


def test_weights_by_others_are_read_bare(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors", {"format": "pt"})
    assert_same(read_checkpoint(tmp_path / "x.safetensors"), {"a": torch.ones(2)}, "read")


def test_state_of_a_run_is_refused_and_nothing_is_written(tmp_path):
    checkpoint = {**make_checkpoint(), "optimizer": {"state": {0: torch.ones(1)}}}
    with pytest.raises(CheckpointError, match=r"format, frozen, meta, optimizer is more.*\.pth"):
        write_checkpoint(checkpoint, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"no safetensors at all", b"\x80\x04N."])
def test_damaged_file_is_one_line(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.safetensors cannot be read as safetensors"):
        read_checkpoint(path)


def test_damaged_metadata_is_told(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(2)}, path, {"amflow_mm_checkpoint": "{"})
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        read_checkpoint(path)
