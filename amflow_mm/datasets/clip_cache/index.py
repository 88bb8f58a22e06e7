"""Where each clip of the cache is: records of fixed layout, appended to a file beside the data.

A record says of itself whether it is whole, so that a reader may look at a file that is being
written, and a run that was killed leaves at worst a last record that nobody sees.
"""

import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from amflow_mm.datasets.clip_cache.keys import Digest

RECORD = np.dtype(
    [
        ("key", "<u8"),
        ("key_rest", "<u8"),
        ("recipe", "<u8"),
        ("offset", "<u8"),
        ("length", "<u8"),
        ("checksum", "<u4"),
        ("record_checksum", "<u4"),
    ]
)
"""One clip: its key, how it was made, where its bytes are, CRC-32 of these and of the record."""

_ENTRY = np.dtype(
    [
        *((name, RECORD[name]) for name in ("key", "key_rest", "offset", "length", "checksum")),
        ("shard", "<u4"),
        ("ordinal", "<u4"),
    ]
)
_MIN_RECENT = 1024


class Place(NamedTuple):
    """Where the bytes of a clip are, and the ordinal number of the record that says so."""

    shard: int
    ordinal: int
    offset: int
    length: int
    checksum: int


def pack_record(key: Digest, recipe: int, *, offset: int, length: int, checksum: int) -> bytes:
    """Return the bytes of a record."""
    record = np.array([(*key, recipe, offset, length, checksum, 0)], dtype=RECORD)
    record["record_checksum"] = _sum_up(record)
    return record.tobytes()


def parse_records(data: bytes) -> NDArray[np.void]:
    """Return the records of an index file; a torn last one is left out."""
    return np.frombuffer(data, dtype=RECORD, count=len(data) // RECORD.itemsize)


def find_whole(records: NDArray[np.void]) -> NDArray[np.bool_]:
    """Tell which records are what was written."""
    return _sum_up(records) == records["record_checksum"]


def _sum_up(records: NDArray[np.void]) -> NDArray[np.uint32]:
    rows = memoryview(records.tobytes())
    size, part = RECORD.itemsize, RECORD.itemsize - RECORD["record_checksum"].itemsize
    sums = [zlib.crc32(rows[start : start + part]) for start in range(0, len(rows), size)]
    return np.array(sums, dtype=np.uint32)


class ClipIndex:
    """Find clips by key among the records of many shards.

    Takes 56 bytes a clip: a sorted array, since every data worker has an index of its own, and a
    dictionary of some hundred bytes a clip would be gigabytes on a large machine. What was added
    last is in a small dictionary until it is worth while to sort again.
    """

    def __init__(self) -> None:
        self._entries = np.empty(0, dtype=_ENTRY)
        self._keys = self._entries["key"].copy()
        self._recent: dict[Digest, list[Place]] = {}
        self._unsorted: list[NDArray[np.void]] = []
        self._num_unsorted = 0

    def __len__(self) -> int:
        """Return the number of records, duplicates included."""
        return len(self._entries) + self._num_unsorted

    def add(self, shard: int, records: NDArray[np.void], first: int) -> None:
        """Add the whole ones of some records, of which the first has a given ordinal number."""
        is_whole = find_whole(records)
        entries = np.empty(int(is_whole.sum()), dtype=_ENTRY)
        for name in ("key", "key_rest", "offset", "length", "checksum"):
            entries[name] = records[name][is_whole]
        entries["shard"] = shard
        entries["ordinal"] = first + np.flatnonzero(is_whole)
        self._unsorted.append(entries)
        self._num_unsorted += len(entries)
        if self._num_unsorted > max(_MIN_RECENT, len(self._entries) // 8):
            self._sort()
            return
        for entry in entries.tolist():
            self._recent.setdefault(entry[:2], []).append(_place(entry))

    def find(self, key: Digest) -> list[Place]:
        """Return the places of a clip, those that were read last in front."""
        places = list(self._recent.get(key, ()))
        start = int(np.searchsorted(self._keys, np.uint64(key[0])))
        found = []
        while start < len(self._keys) and self._keys[start] == key[0]:
            if self._entries["key_rest"][start] == key[1]:
                found.append(_place(self._entries[start].item()))
            start += 1
        return [*reversed(places), *reversed(found)]

    def _sort(self) -> None:
        entries = np.concatenate([self._entries, *self._unsorted])
        # Stable: of two entries with one key the later one stays behind the earlier.
        self._entries = entries[np.argsort(entries["key"], kind="stable")]
        self._keys = self._entries["key"].copy()
        self._recent, self._unsorted, self._num_unsorted = {}, [], 0


def _place(entry: tuple[int, ...]) -> Place:
    _, _, offset, length, checksum, shard, ordinal = entry
    return Place(shard, ordinal, offset, length, checksum)
