"""Arrays on disk, one row a sample, that survive a kill and are read through a memory map."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np

Row = Mapping[str, np.ndarray]


class FeatureStore:
    """Rows of named arrays of fixed shape, written in any order, each marked when complete.

    A row counts as complete only after its data were flushed; a killed run loses the rows in
    flight and nothing else. Pickles as its path, so that workers open their own memory maps.

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

    def missing_rows(self) -> list[int]:
        """Return the rows that are still to be written."""
        if not self.exists:
            return list(range(self.num_rows))
        return np.flatnonzero(self._maps["done"] == 0).tolist()

    def write(self, rows: Mapping[int, Row]) -> None:
        """Write rows and mark them complete once they are on disk.

        Raises:
            ValueError: A value is not finite, which half precision makes of very large ones.
        """
        for index, row in rows.items():
            for name, value in row.items():
                if not np.isfinite(value).all():
                    raise ValueError(
                        f"row {index} of {name!r} is not finite in {value.dtype}: the frozen "
                        "model overflows half precision, so its features cannot be kept"
                    )
        if not self.exists:
            self._create(next(iter(rows.values())))
        for index, row in rows.items():
            for name, value in row.items():
                self._maps[name][index] = value
        for name, array in self._maps.items():
            if name != "done":
                array.flush()
        self._maps["done"][list(rows)] = 1
        self._maps["done"].flush()

    def read(self, index: int) -> dict[str, np.ndarray]:
        """Return copies of one row's arrays."""
        return {name: np.array(m[index]) for name, m in self._maps.items() if name != "done"}

    def num_bytes(self) -> int:
        """Return the size on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    @cached_property
    def _maps(self) -> dict[str, np.memmap]:
        layout = json.loads((self.folder / "layout.json").read_text())
        return {
            name: np.memmap(self.folder / f"{name}.bin", dtype=dtype, mode="r+", shape=tuple(shape))
            for name, (dtype, shape) in layout.items()
        }

    def _create(self, example: Row) -> None:
        """Lay out the arrays like ``example``, aside and then renamed into place."""
        layout = {
            name: (value.dtype.name, (self.num_rows, *value.shape))
            for name, value in example.items()
        }
        layout["done"] = ("uint8", (self.num_rows,))
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(dir=self.folder.parent))
        for name, (dtype, shape) in layout.items():
            with open(scratch / f"{name}.bin", "wb") as file:
                file.truncate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
        (scratch / "layout.json").write_text(json.dumps(layout))
        try:
            os.rename(scratch, self.folder)
        except OSError:  # another process was first; its arrays have the same layout
            shutil.rmtree(scratch)
            if not self.exists:
                raise
