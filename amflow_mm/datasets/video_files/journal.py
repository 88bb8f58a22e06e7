"""What a long run has found so far, so that a killed one goes on where it was."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from amflow_mm.errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no such locks; two runs there must not share a folder
    fcntl = None


class FolderInUseError(UserError, RuntimeError):
    """Another run writes into the same folder."""


def file_key(path: str | os.PathLike[str]) -> str | None:
    """Tell a state of a file apart from others: its path, bytes and time of change.

    None if there is no such file.
    """
    with suppress(OSError):
        status = os.stat(path)
        return f"{os.path.realpath(path)}|{status.st_size}|{status.st_mtime_ns}"
    return None


class Journal:
    """Results by key in a file of JSON lines, each on disk as soon as it is known."""

    def __init__(self, file: BinaryIO, *, version: str) -> None:
        """Read what earlier runs have found."""
        self._version = version
        self._file = file
        self._results = self._read()

    def get(self, key: str | None) -> Mapping[str, Any] | None:
        """Return the result of an earlier run."""
        return None if key is None else self._results.get(key)

    def add(self, key: str | None, result: Mapping[str, Any]) -> None:
        """Keep a result; one without a key is of no use to a later run."""
        if key is not None:
            entry = {"version": self._version, "key": key, "result": result}
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()

    def _read(self) -> dict[str, Any]:
        self._file.seek(0)
        content = self._file.read()
        results = {}
        for line in content.splitlines():
            # The last line of a killed run may be cut; its file is simply looked at again.
            with suppress(ValueError):
                entry = json.loads(line)
                if entry["version"] == self._version:
                    results[entry["key"]] = entry["result"]
        if content and not content.endswith(b"\n"):
            self._file.write(b"\n")
        return results


@contextmanager
def open_alone(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to read and append, and keep other runs out, until this one ends or dies.

    Args:
        path: Of the file; it and missing parent folders are made.

    Raises:
        FolderInUseError: Another run has it open.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise FolderInUseError(
                    f"{path.parent} is in use by another run ({path.name} is locked); wait for "
                    "it, or choose another folder"
                ) from error
        yield file


@contextmanager
def open_journal(
    path: str | os.PathLike[str], *, version: str, restart: bool = False
) -> Iterator[Journal]:
    """Open the journal of a run, alone.

    Args:
        path: Of the file; missing parent folders are made.
        version: Of what the results mean; those of another version are not read.
        restart: Forget what earlier runs have found.

    Raises:
        FolderInUseError: Another run has it open.
    """
    with open_alone(path) as file:
        if restart:
            file.truncate(0)
        yield Journal(file, version=version)
