"""Append clips to a shard that no other process writes to."""

import os
import shutil
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.datasets.clip_cache import shards
from amflow_mm.datasets.clip_cache.index import RECORD, find_whole, pack_record, parse_records
from amflow_mm.datasets.clip_cache.keys import Digest, Recipe

MIN_FREE_BYTES = 2 << 30
"""What is left free on the disk, for checkpoints and logs of the run that fills the cache."""


class CacheFullError(Exception):
    """The cache may not grow any further."""


class ShardWriter:
    """Writer of clips, one a process.

    Data are appended before their record, so that a process that is killed leaves bytes that no
    record points to; the next writer of the shard writes over them. Nothing waits for the disk: a
    clip that a power cut swallows fails its checksum and is made anew.

    Args:
        folder: The cache; made on the first write.
        max_bytes: Limit of all files in it together, to the byte; None for none.
    """

    def __init__(self, folder: Path, max_bytes: int | None) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._described: set[int] = set()
        self._forget()

    def append(self, key: Digest, recipe: Recipe, parts: Sequence[memoryview]) -> bool:
        """Add a clip; returns False while `prune` has the folder to itself.

        Raises:
            CacheFullError: There is no room for it.
            OSError: It could not be written.
        """
        if self._process != os.getpid():
            self._abandon()  # the lock of a parent, which a fork has copied
        length = sum(map(len, parts))
        if not self._claim_shard(length):
            return False
        limit = nullcontext() if self.max_bytes is None else shards.size_locked(self.folder)
        with limit:
            description = shards.recipe_path(self.folder, recipe.number)
            is_new = recipe.number not in self._described and not description.exists()
            self._check_room(length + (len(recipe.text.encode()) if is_new else 0))
            if is_new:
                with atomic_path(description) as partial:
                    partial.write_text(recipe.text, encoding="utf-8")
            self._described.add(recipe.number)
            self._append(key, recipe.number, parts)
        return True

    def close(self) -> None:
        """Leave the shard to others."""
        for descriptor in self._open_files:
            os.close(descriptor)
        self._forget()

    def _forget(self) -> None:
        self._open_files: list[int] = []
        self._data = self._index = -1
        self._end = 0
        self._process = os.getpid()

    def _abandon(self) -> None:
        """Close what was copied by a fork; the parent keeps its locks."""
        self.close()

    def _append(self, key: Digest, recipe: int, parts: Sequence[memoryview]) -> None:
        offset, checksum = self._end, 0
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        _write_at(self._data, parts, offset)
        length = sum(map(len, parts))
        record = pack_record(key, recipe, offset=offset, length=length, checksum=checksum)
        if os.write(self._index, record) != len(record):
            raise OSError(f"{self.folder}: half a record was written")
        self._end = offset + length

    def _check_room(self, length: int) -> None:
        if shutil.disk_usage(self.folder).free < MIN_FREE_BYTES + length:
            raise CacheFullError(
                f"the disk of {self.folder} has less than {MIN_FREE_BYTES / 1e9:.1f} GB free, "
                "which are left to the run itself"
            )
        if self.max_bytes is None:
            return
        if shards.folder_bytes(self.folder) + length + RECORD.itemsize > self.max_bytes:
            raise CacheFullError(f"{self.folder} has grown to max_gigabytes={self.max_bytes / 1e9}")

    def _claim_shard(self, length: int) -> bool:
        """Have a shard with room, one that was left by another process before a new one."""
        if self._open_files and self._end + length <= shards.SHARD_BYTES:
            return True
        self.close()
        self.folder.mkdir(parents=True, exist_ok=True)
        gate = shards.open_file(self.folder / shards.WRITERS_LOCK)
        if not shards.try_lock(gate, shared=True):
            os.close(gate)
            return False
        self._open_files.append(gate)
        for name in self._own_shards():
            if self._try_shard(name, length):
                return True
        while not self._try_shard(shards.new_shard_name(), length):
            pass  # another process was quicker to claim what was just made
        return True

    def _own_shards(self) -> Iterator[str]:
        prefix = f"{shards.machine_name()}-"
        return (name for name in shards.list_shards(self.folder) if name.startswith(prefix))

    def _try_shard(self, name: str, length: int) -> bool:
        """Claim a shard, unless it is claimed or full."""
        with _closed_on_failure() as opened:
            data = shards.open_file(shards.data_path(self.folder, name))
            opened.append(data)
            if not shards.try_lock(data):
                return False
            index = shards.open_file(
                shards.index_path(self.folder, name), os.O_RDWR | os.O_CREAT | os.O_APPEND
            )
            opened.append(index)
            end = _repair(index)
            if end and end + length > shards.SHARD_BYTES:
                return False
            os.ftruncate(data, end)
            self._data, self._index, self._end = data, index, end
            self._open_files += opened
            opened.clear()
        return True


def _repair(index: int) -> int:
    """Cut off a torn record; returns where the data of the whole ones end."""
    size = os.fstat(index).st_size
    data = os.pread(index, size, 0)
    records = parse_records(data)
    if records.nbytes < size:
        os.ftruncate(index, records.nbytes)
    records = records[find_whole(records)]
    return int((records["offset"] + records["length"]).max(initial=0))


def _write_at(descriptor: int, parts: Sequence[memoryview], offset: int) -> None:
    for part in parts:
        while len(part):
            written = os.pwrite(descriptor, part, offset)
            part, offset = part[written:], offset + written


@contextmanager
def _closed_on_failure() -> Iterator[list[int]]:
    """Close the descriptors that are still in the list at the end."""
    opened: list[int] = []
    try:
        yield opened
    finally:
        for descriptor in opened:
            os.close(descriptor)
