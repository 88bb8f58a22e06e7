"""Reading files of tensors as data: every format, nothing runs, messages that do not mislead."""

import pickle
import tarfile

import pytest
import torch
from safetensors.torch import save_file

from amflow_mm.errors import UnreadableFileError
from amflow_mm.safe_load import load_data
from tests.malicious_files import (
    FORMATS,
    WRAPPINGS,
    Payload,
    write_attack,
    write_torchscript_attack,
)


@pytest.fixture
def trace(tmp_path):
    """What exists if a payload has run."""
    return tmp_path / "ran"


@pytest.fixture(params=["as it is", "told to be careless"])
def environment(request, monkeypatch):
    """The user's environment; one variable makes torch run pickles unless a call says no."""
    if request.param == "told to be careless":
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")


def test_tensors_are_read(tmp_path):
    expected = {"weight": torch.arange(3.0)}
    torch.save({"state_dict": expected, "epoch": 3}, tmp_path / "x.pth")
    save_file(expected, tmp_path / "x.safetensors")
    found = load_data(tmp_path / "x.pth")
    assert found["epoch"] == 3
    assert torch.equal(found["state_dict"]["weight"], expected["weight"])
    assert torch.equal(load_data(str(tmp_path / "x.safetensors"))["weight"], expected["weight"])


def test_tensors_go_where_they_are_wanted(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "x.pth")
    save_file({"weight": torch.zeros(3)}, tmp_path / "x.safetensors")
    assert load_data(tmp_path / "x.pth", map_location="meta")["weight"].is_meta


def test_the_payload_runs_where_nothing_guards(tmp_path, trace):
    pickle.loads(pickle.dumps(Payload(trace)))
    assert trace.is_dir()
    trace.rmdir()
    for name in ("zip", "legacy"):
        torch.load(write_attack(tmp_path / "x.pth", trace, format=name), weights_only=False)
        trace.rmdir()
    with tarfile.open(write_attack(tmp_path / "x.tar", trace, format="old_tar")) as archive:
        pickle.loads(archive.extractfile("pickle").read())
    assert trace.is_dir()


def test_the_torchscript_payload_runs_where_nothing_guards(tmp_path, trace):
    torch.jit.load(write_torchscript_attack(tmp_path / "x.pt", trace))
    assert trace.is_file()


def assert_one_sentence(message, path):
    assert message.startswith(f"{path} cannot be read: ")
    assert "\n" not in message
    assert "\033" not in message
    assert "weights_only" not in message  # torch's advice is to switch the guard off


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.usefixtures("environment")
def test_a_payload_is_refused_and_does_not_run(tmp_path, trace, name, wrapping):
    path = write_attack(tmp_path / "x.pth", trace, format=name, wrapping=wrapping)
    reason = {
        "torchscript_look": "it is a TorchScript archive",
        "old_tar": "its format, of torch before",
    }.get(name, "it asks for posix.mkdir")
    with pytest.raises(UnreadableFileError, match=f"x.pth cannot be read: {reason}") as raised:
        load_data(path)
    assert not trace.exists()
    assert_one_sentence(str(raised.value), path)


@pytest.mark.usefixtures("environment")
def test_a_torchscript_program_is_refused_and_does_not_run(tmp_path, trace):
    path = write_torchscript_attack(tmp_path / "x.pt", trace)
    with pytest.raises(
        UnreadableFileError, match="it is a TorchScript archive, a program"
    ) as raised:
        load_data(path)
    assert not trace.exists()
    assert_one_sentence(str(raised.value), path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_pickle_called_safetensors_is_not_unpickled(tmp_path, trace, name):
    path = write_attack(tmp_path / "x.safetensors", trace, format=name)
    with pytest.raises(UnreadableFileError, match=r"x\.safetensors cannot be read: .*header"):
        load_data(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x80",
        b"text that is no pickle",
        b"PK\x03\x04 cut off",
        b"\x80\x02}q\x00.",
        b"\x80\x02h\x07.",
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_told(tmp_path, content, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError, match="cannot be read: ") as raised:
        load_data(path)
    assert_one_sentence(str(raised.value), path)


def test_half_a_file_is_told(tmp_path):
    torch.save({"weight": torch.zeros(999)}, tmp_path / "x.pth")
    content = (tmp_path / "x.pth").read_bytes()
    (tmp_path / "x.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableFileError, match="cannot be read: PytorchStreamReader") as raised:
        load_data(tmp_path / "x.pth")
    assert_one_sentence(str(raised.value), tmp_path / "x.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_missing_file_is_told(tmp_path, suffix):
    with pytest.raises(UnreadableFileError, match="cannot be read: No such file or directory"):
        load_data(tmp_path / f"x{suffix}")


def test_a_folder_is_told(tmp_path):
    with pytest.raises(UnreadableFileError, match="cannot be read: Is a directory"):
        load_data(tmp_path)
