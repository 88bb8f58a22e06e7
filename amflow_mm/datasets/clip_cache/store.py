"""A cache folder: payloads by key, from many processes at once."""

import logging
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log
from numpy.typing import NDArray

from amflow_mm.datasets.clip_cache.keys import Digest, Recipe
from amflow_mm.datasets.clip_cache.reader import ClipReader, Verify
from amflow_mm.datasets.clip_cache.writer import CacheFullError, ShardWriter


class ClipStore:
    """Read and write clips of a folder. Nothing that goes wrong with the folder stops a run.

    Pickles as its arguments; each process opens its own files.

    Args:
        folder: The cache; made on the first write.
        max_bytes: Limit of all files in it together; None for none.
        verify: See ``ClipReader``.
    """

    def __init__(
        self, folder: Path, *, max_bytes: int | None = None, verify: Verify = "once"
    ) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.verify = verify
        self.counts: Counter[str] = Counter()
        self._reader = ClipReader(folder, verify)
        self._writer = ShardWriter(folder, max_bytes)
        self._is_writable = True
        self._has_warned_of_damage = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave open files behind."""
        return _rebuild, (self.folder, self.max_bytes, self.verify)

    def get(self, key: Digest) -> NDArray[np.uint8] | None:
        """Return a payload of one's own, or None where no sound one is there."""
        damaged = self._reader.num_damaged
        payload = self._reader.read(key)
        if payload is None and self._refresh():
            payload = self._reader.read(key)
        self.counts["damaged"] += self._reader.num_damaged - damaged
        self.counts["misses" if payload is None else "hits"] += 1
        if self._reader.num_damaged and not self._has_warned_of_damage:
            self._has_warned_of_damage = True
            self._warn("holds damaged clips; they are decoded and stored anew")
        return payload

    def put(self, key: Digest, recipe: Recipe, parts: Sequence[memoryview]) -> bool:
        """Keep a payload; returns whether it is kept.

        When the cache is full, or cannot be written to, that is logged once, and this process
        stores no more: it would only throw out clips that are as likely to be needed.
        """
        if not self._is_writable:
            return False
        try:
            is_stored = self._writer.append(key, recipe, parts)
        except CacheFullError as error:
            return self._stop(f"takes no more clips: {error}")
        except OSError as error:
            return self._stop(f"takes no more clips: {error.strerror or error}")
        self.counts["stored"] += is_stored
        return is_stored

    def close(self) -> None:
        """Close the files and leave the shard to others."""
        self._reader.close()
        self._writer.close()

    def _refresh(self) -> bool:
        try:
            return self._reader.refresh()
        except OSError as error:
            self._stop(f"cannot be read: {error.strerror or error}")
            return False

    def _stop(self, reason: str) -> bool:
        if self._is_writable:
            self._is_writable = False
            self._writer.close()
            self._warn(reason)
        return False

    def _warn(self, text: str) -> None:
        message = f"clip cache {self.folder} (process {os.getpid()}) {text}"
        print_log(message, logger="current", level=logging.WARNING)


def _rebuild(folder: Path, max_bytes: int | None, verify: Verify) -> ClipStore:
    return ClipStore(folder, max_bytes=max_bytes, verify=verify)
