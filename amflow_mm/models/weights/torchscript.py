"""Weights out of a TorchScript archive, such as those of openai/CLIP, without running any of it.

``torch.jit.load`` compiles the code in the archive, and attributes with a ``__setstate__`` run
theirs. Here the code is never looked at: of ``data.pkl``, which says which tensor is called what,
the few opcodes are interpreted that TorchScript writes. None of them imports a module, makes an
instance of a class or calls what the file names.
"""

import pickletools
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amflow_mm.errors import WeightsError

_DTYPES = {
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch BoolStorage": torch.bool,
    "torch ByteStorage": torch.uint8,
    "torch CharStorage": torch.int8,
    "torch ShortStorage": torch.int16,
    "torch IntStorage": torch.int32,
    "torch LongStorage": torch.int64,
}
_TYPED_LISTS = "torch.jit._pickle build_"
_REBUILD = "torch._utils _rebuild_tensor_v2"
_LITERALS = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"}
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class _Name:
    """What the file calls a class or a function; it stays a name."""

    text: str


@dataclass
class _Module:
    """A module of the archive: its attributes, whatever its class."""

    attributes: dict[str, Any] = field(default_factory=dict)


def is_torchscript(path: Path) -> bool:
    """Tell whether a file is a TorchScript archive."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.count("/") == 1 and name.endswith("/constants.pkl")
                   for name in archive.namelist())  # fmt: skip


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """Return the tensors of an archive by their dotted names, as its ``state_dict()`` does.

    Raises:
        WeightsError: The archive is damaged or holds what TorchScript does not write.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = archive.namelist()[0].split("/")[0]
            return dict(_tensors(_Interpreter(archive, root).run(), ""))
    except _DAMAGE as error:
        raise WeightsError(
            f"this TorchScript archive is refused ({type(error).__name__}: {error}); it is "
            "damaged, or holds what no weights need"
        ) from error


def _tensors(module: _Module, prefix: str) -> Iterator[tuple[str, Tensor]]:
    for name, value in module.attributes.items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _tensors(value, f"{prefix}{name}.")


class _Interpreter:
    """The opcodes that TorchScript's pickler writes; any other is refused."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        self.archive = archive
        self.root = root
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Tensor] = {}

    def run(self) -> _Module:
        """Interpret ``data.pkl`` and return the outermost module."""
        for opcode, argument, _ in pickletools.genops(self.archive.read(f"{self.root}/data.pkl")):
            self._step(opcode.name, argument)
        (result,) = self.stack
        if not isinstance(result, _Module):
            raise ValueError(f"a {type(result).__name__} in place of a module")
        return result

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name == "GLOBAL":
            self.stack.append(_Name(argument))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in _TUPLES:
            self._replace(_TUPLES[name], tuple)
        elif name == "MARK":
            self.marks.append(len(self.stack))
        elif name not in ("PROTO", "STOP"):
            self._combine(name)

    def _combine(self, name: str) -> None:
        """Carry out an opcode that joins what is on the stack."""
        if name == "TUPLE":
            self._replace(len(self.stack) - self.marks.pop(), tuple)
        elif name in ("APPEND", "APPENDS"):
            count = 1 if name == "APPEND" else len(self.stack) - self.marks.pop()
            items = self._pop(count)
            self.stack[-1].extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            count = 2 if name == "SETITEM" else len(self.stack) - self.marks.pop()
            items = self._pop(count)
            self.stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "NEWOBJ":
            self._replace(2, lambda _: _Module())
        elif name == "BUILD":
            attributes = self.stack.pop()
            self.stack[-1].attributes.update(attributes)
        elif name == "REDUCE":
            self._replace(2, lambda call: self._call(*call))
        elif name == "BINPERSID":
            self._replace(1, lambda identity: self._storage(*identity[0]))
        else:
            raise ValueError(f"opcode {name}")

    def _pop(self, count: int) -> list[Any]:
        split = len(self.stack) - count
        items = self.stack[split:]
        del self.stack[split:]
        return items

    def _replace(self, count: int, combine: Callable[[list[Any]], Any]) -> None:
        self.stack.append(combine(self._pop(count)))

    def _call(self, function: _Name, arguments: tuple[Any, ...]) -> Any:
        """Stand in for the functions that TorchScript's own files call."""
        if function.text == _REBUILD:
            storage, offset, size, stride = arguments[:4]
            return torch.as_strided(storage, size, stride, offset).clone()
        if function.text == "collections OrderedDict" and not arguments:
            return {}
        if function.text == "torch.jit._pickle restore_type_tag":
            return arguments[0]
        if function.text.startswith(_TYPED_LISTS):
            return list(arguments[0])
        raise ValueError(f"a call of {function.text.replace(' ', '.')}")

    def _storage(self, kind: str, name: _Name, key: str, device: str, numel: int) -> Tensor:
        """Return the numbers of a storage; the device that they were saved from does not matter."""
        del device
        if kind != "storage" or name.text not in _DTYPES:
            raise ValueError(f"{kind} of {name.text} is unknown")
        if key not in self.storages:
            data = self.archive.read(f"{self.root}/data/{key}")
            dtype = _DTYPES[name.text]
            empty = torch.empty(0, dtype=dtype)
            self.storages[key] = torch.frombuffer(bytearray(data), dtype=dtype) if data else empty
            if len(self.storages[key]) < numel:
                raise ValueError(f"storage {key} has fewer than {numel} numbers")
        return self.storages[key]
