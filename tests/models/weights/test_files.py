"""Files of checkpoints: every format, damaged ones, and those that hold more than tensors."""

import argparse
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from amflow_mm.errors import WeightsError
from amflow_mm.models.weights.files import read_checkpoint_file
from tests.models.weights.archives import script


@pytest.fixture
def state():
    return {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.tensor(2)}


@pytest.mark.parametrize("is_zip", [True, False])
def test_both_formats_of_torch_are_read(tmp_path, state, is_zip):
    torch.save({"model": state}, tmp_path / "x.bin", _use_new_zipfile_serialization=is_zip)
    found = read_checkpoint_file(tmp_path / "x.bin").entries
    assert found.keys() == state.keys()
    assert torch.equal(found["a.weight"], state["a.weight"])


def test_safetensors_keep_their_metadata(tmp_path, state):
    save_file(state, tmp_path / "x.safetensors", {"who": "me"})
    found = read_checkpoint_file(tmp_path / "x.safetensors")
    assert found.metadata == {"who": "me"}
    assert torch.equal(found.entries["a.weight"], state["a.weight"])


def test_an_archive_is_told_by_its_content(tmp_path):
    module = torch.nn.Linear(2, 3)
    script(module).save(tmp_path / "x.pth")
    found = read_checkpoint_file(tmp_path / "x.pth").entries
    assert torch.equal(found["weight"], module.weight)


@pytest.mark.parametrize("name", ["x.safetensors", "x.pth"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x00" * 1000])
def test_something_else_raises(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="it cannot be read: "):
        read_checkpoint_file(tmp_path / name)


def test_a_file_cut_off_raises(tmp_path, state):
    torch.save(state, tmp_path / "x.pth")
    content = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="it cannot be read: "):
        read_checkpoint_file(tmp_path / "x.pth")


def test_an_archive_of_something_else_raises(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("x/readme.txt", "hello")
    with pytest.raises(WeightsError, match="it cannot be read: "):
        read_checkpoint_file(tmp_path / "x.pth")


@pytest.mark.parametrize(
    "value",
    [torch.nn.Linear(2, 3), {"state_dict": {"x": torch.zeros(1)}, "args": argparse.Namespace()}],
)
def test_more_than_tensors_is_refused_with_what_it_is(tmp_path, value):
    torch.save(value, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match=r"it asks for (torch.nn|argparse).*, which is refused"):
        read_checkpoint_file(tmp_path / "x.pth")


def test_the_refusal_does_not_advise_to_load_it_nevertheless(tmp_path):
    torch.save(torch.nn.Linear(2, 3), tmp_path / "x.pth")
    with pytest.raises(WeightsError) as caught:
        read_checkpoint_file(tmp_path / "x.pth")
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("value", [{}, {"epoch": 3}, {"model": {"x": [1.0]}}])
def test_a_dict_without_weights_raises(tmp_path, value):
    torch.save(value, tmp_path / "x.pth")
    with pytest.raises(WeightsError, match="holds no state dict"):
        read_checkpoint_file(tmp_path / "x.pth")
