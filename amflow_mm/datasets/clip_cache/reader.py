"""Find and read clips that any process has written."""

import os
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from amflow_mm.datasets.clip_cache import shards
from amflow_mm.datasets.clip_cache.index import RECORD, ClipIndex, Place, parse_records
from amflow_mm.datasets.clip_cache.keys import Digest

Verify = Literal["once", "always"]

MAX_OPEN_FILES = 64


class ClipReader:
    """Reader of payloads, one a process.

    Payloads are read into memory of their own instead of being mapped. A map saves a tenth of a
    millisecond on uncompressed clips alone; in exchange a disk error kills the process instead of
    raising, the memory of a worker seems to grow to the size of the cache, and steps that work in
    place, such as ``Flip``, need a copy after all.

    Args:
        folder: The cache; it need not exist.
        verify: Check a clip when this process reads it for the first time, or always.
    """

    def __init__(self, folder: Path, verify: Verify) -> None:
        self.folder = folder
        self.verify = verify
        self.num_damaged = 0
        self._files: OrderedDict[str, int] = OrderedDict()
        self._reset()

    def read(self, key: Digest) -> NDArray[np.uint8] | None:
        """Return a payload, or None where there is none that is sound."""
        for place in self._index.find(key):
            payload = self._read_place(place)
            if payload is not None:
                return payload
        return None

    def refresh(self) -> bool:
        """Look for what was written since; returns whether there was anything."""
        sizes = shards.list_shards(self.folder)
        is_replaced = not self._seen.keys() <= sizes.keys()
        if is_replaced:  # by `prune`
            self._reset()
        before = len(self._index)
        for name, size in sizes.items():
            seen = self._seen.setdefault(name, 0)
            if size - seen >= RECORD.itemsize:
                self._load(name, seen, size)
        return is_replaced or len(self._index) > before

    def close(self) -> None:
        """Close the files."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _reset(self) -> None:
        self.close()
        self._index = ClipIndex()
        self._names: list[str] = []
        self._seen: dict[str, int] = {}
        self._checked: dict[int, bytearray] = {}
        self._damaged: set[tuple[int, int]] = set()

    def _load(self, name: str, seen: int, size: int) -> None:
        try:
            descriptor = shards.open_file(shards.index_path(self.folder, name), os.O_RDONLY)
        except FileNotFoundError:  # `prune` has just replaced it
            return
        try:
            records = parse_records(os.pread(descriptor, size - seen, seen))
        finally:
            os.close(descriptor)
        if name not in self._names:
            self._names.append(name)
        shard = self._names.index(name)
        self._index.add(shard, records, seen // RECORD.itemsize)
        self._seen[name] = seen + records.nbytes
        self._checked.setdefault(shard, bytearray()).extend(bytes(len(records)))

    def _read_place(self, place: Place) -> NDArray[np.uint8] | None:
        if (place.shard, place.ordinal) in self._damaged:
            return None
        try:
            descriptor = self._open(self._names[place.shard])
        except FileNotFoundError:  # `prune` has replaced the shard
            return None
        payload = np.empty(place.length, dtype=np.uint8)
        if self._fill(payload, descriptor, place) and self._is_sound(payload, place):
            return payload
        self._damaged.add((place.shard, place.ordinal))
        self.num_damaged += 1
        return None

    def _fill(self, payload: NDArray[np.uint8], descriptor: int, place: Place) -> bool:
        try:
            return os.preadv(descriptor, [payload], place.offset) == place.length
        except OSError:
            # A disk that cannot read a clip: it is made anew, and counted like any damage.
            return False

    def _is_sound(self, payload: NDArray[np.uint8], place: Place) -> bool:
        checked = self._checked[place.shard]
        if self.verify == "once" and checked[place.ordinal]:
            return True
        checked[place.ordinal] = 1
        return zlib.crc32(payload) == place.checksum

    def _open(self, name: str) -> int:
        """Return the open file of a shard; of large caches only those used last are open."""
        if name in self._files:
            self._files.move_to_end(name)
            return self._files[name]
        if len(self._files) >= MAX_OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        path = shards.data_path(self.folder, name)
        self._files[name] = shards.open_file(path, os.O_RDONLY)
        return self._files[name]
