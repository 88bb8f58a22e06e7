"""Arrays on disk, one row a sample, that survive a kill and are read through a memory map."""

import json
import math
import os
import shutil
import uuid
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

from amflow_mm.errors import UnreadableFileError

Row = Mapping[str, np.ndarray]

_Entry = tuple[str, tuple[int, ...]]
"""Of an array: dtype and shape."""


class FeatureStore:
    """Rows of named arrays of fixed shape, written in any order, each marked when complete.

    A row counts as complete only after its data were flushed; a killed run loses the rows in
    flight and nothing else. Several processes may write at once, each other rows, also from several
    machines into a shared folder. Pickles as its path, so that workers open their own memory maps.

    Args:
        folder: Where the arrays are; created on the first write.
        num_rows: Rows in all.
    """

    def __init__(self, folder: Path, num_rows: int) -> None:
        self.folder = folder
        self.num_rows = num_rows

    def __getstate__(self) -> dict[str, object]:
        """Leave the open maps behind."""
        return {"folder": self.folder, "num_rows": self.num_rows}

    @property
    def exists(self) -> bool:
        """Whether any row was ever written."""
        return (self.folder / "layout.json").is_file()

    @property
    def is_complete(self) -> bool:
        """Whether every row is there."""
        return self.exists and bool(self._maps["done"].all())

    def has(self, index: int) -> bool:
        """Tell whether a row is there."""
        return self.exists and bool(self._maps["done"][index])

    def missing_rows(self) -> list[int]:
        """Return the rows that are still to be written."""
        if not self.exists:
            return list(range(self.num_rows))
        return np.flatnonzero(self._maps["done"] == 0).tolist()

    def write(self, rows: Mapping[int, Row]) -> None:
        """Write rows and mark them complete once they are on disk.

        Raises:
            ValueError: A value is not finite, which half precision makes of very large ones; or
                a row has other arrays than the rows before it.
            OSError: The rows would not fit on the disk.
        """
        for index, row in rows.items():
            _check_finite(index, row)
        if not self.exists:
            self._create(next(iter(rows.values())))
        for index, row in rows.items():
            self._check_layout(index, row)
        for name in next(iter(rows.values())):
            values = {index: row[name] for index, row in rows.items()}
            pieces = {index * value.nbytes: value.tobytes() for index, value in values.items()}
            _overwrite(self.folder / f"{name}.bin", pieces)
        _overwrite(self.folder / "done.bin", dict.fromkeys(rows, b"\1"), flags=os.O_DSYNC)

    def read(self, index: int) -> dict[str, np.ndarray]:
        """Return copies of one row's arrays."""
        return {name: np.array(m[index]) for name, m in self._maps.items() if name != "done"}

    def reopen(self) -> None:
        """Open the files anew: only then is what other machines wrote sure to be seen."""
        self.__dict__.pop("_maps", None)

    def num_bytes(self) -> int:
        """Return the size on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def num_bytes_with(self, example: Row) -> int:
        """Return the size on disk of all rows, were they laid out like ``example``."""
        return sum(_num_bytes(entry) for entry in self._layout(example).values())

    @cached_property
    def _maps(self) -> dict[str, np.memmap]:
        path = self.folder / "layout.json"
        try:
            layout = json.loads(path.read_text(encoding="utf-8"))
            return {name: self._open(name, *entry) for name, entry in layout.items()}
        except (AttributeError, OSError, OverflowError, TypeError, ValueError) as error:
            raise UnreadableFileError(
                f"{self.folder} holds no kept features that {path.name} describes rightly "
                f"({type(error).__name__}: {error}); remove the folder to compute them anew"
            ) from error

    def _open(self, name: str, dtype: str, shape: list[int]) -> np.memmap:
        kind = np.dtype(dtype)
        # Of any other type numpy would take bytes of the file for addresses, or run code of it.
        if kind.kind not in "biuf" or not name.isidentifier():
            raise ValueError(f"{name!r} of type {dtype!r} is no array of numbers in the folder")
        return np.memmap(self.folder / f"{name}.bin", dtype=kind, mode="r", shape=tuple(shape))

    def _check_layout(self, index: int, row: Row) -> None:
        expected = {n: (m.dtype.name, m.shape[1:]) for n, m in self._maps.items() if n != "done"}
        found = {name: (value.dtype.name, value.shape) for name, value in row.items()}
        if found != expected:
            raise ValueError(
                f"row {index} holds {found} where {self.folder} keeps {expected}: all clips of a "
                "kept dataset must have one size, length and number of views"
            )

    def _layout(self, example: Row) -> dict[str, _Entry]:
        arrays = example.items()
        layout = {name: (value.dtype.name, (self.num_rows, *value.shape)) for name, value in arrays}
        return {**layout, "done": ("uint8", (self.num_rows,))}

    def _create(self, example: Row) -> None:
        """Lay out the arrays like ``example``, aside and then renamed into place."""
        layout = self._layout(example)
        sizes = {name: _num_bytes(entry) for name, entry in layout.items()}
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        # The files take their space as rows are written: a disk that is too small would be full
        # only hours later.
        needed, free = sum(sizes.values()), shutil.disk_usage(self.folder.parent).free
        if needed > free:
            raise OSError(
                f"{self.num_rows} rows take {needed / 1e9:.1f} GB, but {self.folder.parent} has "
                f"{free / 1e9:.1f} GB free; point cache_dir to a larger disk"
            )
        # Not tempfile.mkdtemp: its folders are closed to others, and a cache is there to be shared.
        scratch = self.folder.with_name(f".{self.folder.name}-{uuid.uuid4().hex}")
        scratch.mkdir()
        for name, size in sizes.items():
            with open(scratch / f"{name}.bin", "wb") as file:
                file.truncate(size)
        (scratch / "layout.json").write_text(json.dumps(layout))
        try:
            os.rename(scratch, self.folder)
        except OSError:  # another process was first; its arrays have the same layout
            shutil.rmtree(scratch)
            if not self.exists:
                raise


def _num_bytes(entry: _Entry) -> int:
    dtype, shape = entry
    return math.prod(shape) * np.dtype(dtype).itemsize


def _overwrite(path: Path, pieces: Mapping[int, bytes], *, flags: int = 0) -> None:
    """Put pieces at their offsets in bytes, and nothing beside them, and wait for the disk.

    A memory map would write back whole pages: over a network file system those of one machine
    replace what another has meanwhile written beside its rows. So does a plain write if the page
    was read before, as that of the marks is, unless the file is opened with ``os.O_DSYNC``.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | flags), "wb") as file:
        for offset, piece in pieces.items():
            file.seek(offset)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _check_finite(index: int, row: Row) -> None:
    for name, value in row.items():
        if not np.isfinite(value).all():
            raise ValueError(
                f"row {index} of {name!r} is not finite in {value.dtype}: the frozen model "
                "overflows half precision, so its features cannot be kept"
            )
