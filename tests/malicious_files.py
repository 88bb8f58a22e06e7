"""Files that make a folder when they are read carelessly, in every format that torch ever wrote."""

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class Payload:
    """What a pickle can do: call any function when it is read."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self) -> tuple[Callable, tuple[str, ...]]:
        return os.mkdir, (self.trace,)


def _zip(path: Path, content: Any) -> None:
    torch.save(content, path)


def _legacy(path: Path, content: Any) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _plain_pickle(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def _torchscript_look(path: Path, content: Any) -> None:
    """Dress a pickle up as a TorchScript archive, whose reader is another one."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content))
        archive.writestr("archive/constants.pkl", pickle.dumps(()))
        archive.writestr("archive/code/__torch__.py", "")
        archive.writestr("archive/version", "3\n")


def _old_tar(path: Path, content: Any) -> None:
    """Pack as torch before 0.1.10 did; its other members are never reached."""
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(content)
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


FORMATS: dict[str, Callable[[Path, Any], None]] = {
    "zip": _zip,
    "legacy": _legacy,
    "pickle": _plain_pickle,
    "torchscript_look": _torchscript_look,
    "old_tar": _old_tar,
}

WRAPPINGS: dict[str, Callable[[Any], Any]] = {
    "bare": lambda payload: payload,
    "beside_weights": lambda payload: {"extra": payload, "cls_token": torch.zeros(1)},
    "state_dict": lambda payload: {"state_dict": {"cls_token": payload}},
    "message_hub": lambda payload: {
        "state_dict": {},
        "meta": {"epoch": 1, "iter": 4, "seed": 3},
        "message_hub": {"log_scalars": {"loss": payload}},
        "optimizer": {},
    },
}


def write_attack(
    path: Path, trace: Path, *, format: str = "zip", wrapping: str = "beside_weights"
) -> Path:
    """Write a file that makes the folder ``trace`` if it is unpickled; returns its path."""
    FORMATS[format](path, WRAPPINGS[wrapping](Payload(trace)))
    return path


class _Writer(torch.nn.Module):
    """A module whose state cannot be set without a file being written."""

    def __init__(self, trace: str) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.trace = trace

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, str, bool]:
        return self.weight, self.trace, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool]) -> None:
        self.weight = state[0]
        self.trace = state[1]
        self.training = state[2]
        torch.save(self.weight, state[1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def write_torchscript_attack(path: Path, trace: Path) -> Path:
    """Write a genuine TorchScript archive that writes ``trace`` if it is loaded as a program."""
    torch.jit.save(torch.jit.script(_Writer(str(trace))), path)
    return path
