"""TorchScript archives: read as their state dict, and never run."""

import io
import pickle
import zipfile

import pytest
import torch
from torch import nn

from amflow_mm.errors import WeightsError
from amflow_mm.models.weights.torchscript import is_torchscript, read_torchscript
from amflow_mm.testing import fixed_init_
from tests.models.weights.archives import script, trace
from tests.models.weights.foreign_models import OpenAIClip


class Assorted(nn.Module):
    """Attributes of every kind that TorchScript keeps, and methods beside ``forward``."""

    names: list[str]
    sizes: list[int]
    table: dict[str, float]

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.BatchNorm1d(2))
        self.shared = self.inner[0]
        self.narrow = nn.Parameter(torch.randn(2, 3).half())
        self.register_buffer("numbers", torch.arange(5))
        self.register_buffer("nothing", torch.zeros(0, 2))
        self.register_buffer("scalar", torch.tensor(2.5, dtype=torch.float64))
        self.register_buffer("turned", torch.arange(6.0).view(2, 3).T)
        self.register_buffer("part", torch.arange(10.0)[3:7:2])
        self.names, self.sizes, self.table = ["a", "b"], [1, 300, 70000], {"x": 0.5}
        self.flag, self.label, self.nobody = True, "x", None

    def forward(self, x):
        return self.inner(x) * self.scalar

    @torch.jit.export
    def other(self, x):
        return self.shared(x)


def assert_equal_states(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value), name


def test_a_scripted_model_is_read_as_its_state_dict(tmp_path):
    archive = script(Assorted())
    archive.save(tmp_path / "x.pt")
    assert is_torchscript(tmp_path / "x.pt")
    assert_equal_states(read_torchscript(tmp_path / "x.pt"), archive.state_dict())


@pytest.mark.parametrize("is_half", [False, True])
def test_a_traced_clip_is_read_as_its_state_dict(tmp_path, is_half):
    archive = trace(fixed_init_(OpenAIClip()).eval())
    archive = archive.half() if is_half else archive
    archive.save(tmp_path / "x.pt")
    assert_equal_states(read_torchscript(tmp_path / "x.pt"), archive.state_dict())


def test_what_torch_save_wrote_is_another_format(tmp_path):
    torch.save({"x": torch.zeros(2)}, tmp_path / "x.pt")
    (tmp_path / "y.pt").write_bytes(b"something else")
    assert not is_torchscript(tmp_path / "x.pt")
    assert not is_torchscript(tmp_path / "y.pt")


# ---------------------------------------------------------------- refusals


def write_archive(path, data, storages=()):
    """Write an archive with this ``data.pkl``."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", data)
        archive.writestr("x/constants.pkl", pickle.dumps(()))
        for index, storage in enumerate(storages):
            archive.writestr(f"x/data/{index}", storage)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_runs_code_is_refused(tmp_path, protocol):
    write_archive(tmp_path / "x.pt", pickle.dumps(Malicious(tmp_path / "broken_in"), protocol))
    with pytest.raises(WeightsError, match=r"archive is refused .*(call of posix.mkdir|opcode )"):
        read_torchscript(tmp_path / "x.pt")
    assert not (tmp_path / "broken_in").exists()


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"cos\nsystem\n(S'touch broken_in'\ntR.", "opcode STRING"),
        (b"(S'touch broken_in'\nios\nsystem\n.", "opcode STRING"),
        (b"(X\x01\x00\x00\x00xios\nsystem\n.", "opcode INST"),
        (b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", "call of builtins.eval"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "opcode SHORT_BINUNICODE"),
        (b"\x80\x02cbuiltins\nobject\n)\x81}X\x01\x00\x00\x00xK\x01sb.", None),
    ],
)
def test_opcodes_that_could_reach_code_do_not(tmp_path, data, found, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_archive(tmp_path / "x.pt", data)
    if found is None:  # an instance of any class is a bag of attributes
        assert read_torchscript(tmp_path / "x.pt") == {}
    else:
        with pytest.raises(WeightsError, match=found):
            read_torchscript(tmp_path / "x.pt")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.pt"]


def test_code_in_an_archive_is_not_looked_at(tmp_path):
    """With code that does not even parse, torch's own reader fails and ours does not notice."""
    archive = script(nn.Sequential(nn.Linear(2, 3)))
    archive.save(tmp_path / "whole.pt")
    with (
        zipfile.ZipFile(tmp_path / "whole.pt") as whole,
        zipfile.ZipFile(tmp_path / "broken.pt", "w") as broken,
    ):
        for name in whole.namelist():
            is_code = "/code/" in name and name.endswith(".py")
            broken.writestr(name, b"this is no code" if is_code else whole.read(name))
    assert_equal_states(read_torchscript(tmp_path / "broken.pt"), archive.state_dict())
    with pytest.raises(RuntimeError, match=r"this is no code|expected"):
        torch.jit.load(tmp_path / "broken.pt")


def tensor_pickle(size, stride=(1,), offset=0, numel=4, storage="FloatStorage"):
    """Pickle a module with one tensor, as TorchScript would."""
    stream = io.BytesIO()

    def integers(*values):
        stream.write(b"(" + b"".join(b"J" + v.to_bytes(4, "little", signed=True) for v in values))
        stream.write(b"t")

    def text(value):
        stream.write(b"X" + len(value).to_bytes(4, "little") + value.encode())

    stream.write(b"\x80\x02c__torch__\nM\n)\x81}(")
    text("weight")
    stream.write(b"ctorch._utils\n_rebuild_tensor_v2\n((")
    text("storage")
    stream.write(f"ctorch\n{storage}\n".encode())
    text("0")
    text("cuda:0")
    stream.write(b"J" + numel.to_bytes(4, "little", signed=True) + b"tQ")
    stream.write(b"J" + offset.to_bytes(4, "little", signed=True))
    integers(*size)
    integers(*stride)
    stream.write(b"\x89ccollections\nOrderedDict\n)RtRub.")
    return stream.getvalue()


def test_a_tensor_saved_from_a_gpu_is_read(tmp_path):
    numbers = torch.arange(4.0)
    write_archive(tmp_path / "x.pt", tensor_pickle((3,), offset=1), [numbers.numpy().tobytes()])
    assert torch.equal(read_torchscript(tmp_path / "x.pt")["weight"], numbers[1:])


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"size": (5,)}, "out of bounds"),
        ({"size": (3,), "offset": 2}, "out of bounds"),
        ({"size": (2,), "offset": -1}, "RuntimeError"),
        ({"size": (3,), "stride": (-1,)}, "RuntimeError"),
        ({"size": (4,), "numel": 5}, "fewer than 5"),
        ({"size": (4,), "storage": "StringStorage"}, "torch StringStorage is unknown"),
    ],
)
def test_tensors_outside_their_storage_are_refused(tmp_path, options, found):
    write_archive(tmp_path / "x.pt", tensor_pickle(**options), [bytes(16)])
    with pytest.raises(WeightsError, match=found):
        read_torchscript(tmp_path / "x.pt")


@pytest.mark.parametrize(
    "data", [b"", b"\x80\x02", b"\x80\x02}.", b"\x80\x02q\x00.", b"\x80\x02tb."]
)
def test_a_damaged_pickle_is_refused(tmp_path, data):
    write_archive(tmp_path / "x.pt", data)
    with pytest.raises(WeightsError, match="archive is refused"):
        read_torchscript(tmp_path / "x.pt")


def test_an_archive_cut_off_or_altered_is_refused(tmp_path):
    script(nn.Linear(20, 30)).save(tmp_path / "x.pt")
    whole = (tmp_path / "x.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        info = next(i for i in archive.infolist() if i.filename.endswith("data/0"))
    altered = bytearray(whole)
    altered[info.header_offset + 200] ^= 1
    (tmp_path / "x.pt").write_bytes(altered)
    with pytest.raises(WeightsError, match="Bad CRC-32"):
        read_torchscript(tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes(whole[: len(whole) // 2])
    assert not is_torchscript(tmp_path / "x.pt")
