"""The address of a video in a shard: one text that says where its bytes are.

It stands where a path could, as ``filename`` of a sample, so that whatever reads a video through
``storage.read_bytes`` reads it from a shard too, names it in messages, and tells it apart from
others without reading it.
"""

import zlib
from typing import NamedTuple
from urllib.parse import parse_qs, quote

from amflow_mm.datasets import storage
from amflow_mm.datasets.decoding.errors import Reason, unreadable
from amflow_mm.datasets.remote_files import hide_secrets
from amflow_mm.datasets.shards.shard_cache import CachedShard, ShardCache

CACHE_ATTEMPTS = 3


class ShardMember(NamedTuple):
    """Where a video is.

    Args:
        shard: Path or URL of the tar file.
        offset: Where the video's bytes begin.
        size: How many there are.
        crc32: Their checksum.
        name: Path of the video in the list.
        cached: The tar file in a folder of this machine; None to read where it stands.
    """

    shard: str
    offset: int
    size: int
    crc32: int
    name: str
    cached: CachedShard | None = None

    def __str__(self) -> str:
        """Return the address; the name comes last, as in paths."""
        shard = self.shard if storage.is_remote(self.shard) else f"file://{self.shard}"
        cached = self.cached
        cache = ""
        if cached is not None:
            cache = (
                f"cache={quote(cached.cache.folder, safe='')}&limit={cached.cache.max_bytes}"
                f"&bytes={cached.num_bytes}&sha256={cached.sha256}&"
            )
        numbers = f"offset={self.offset}&size={self.size}&crc32={self.crc32:08x}"
        return f"{storage.SHARD_PREFIX}{shard}#{numbers}&{cache}name={quote(self.name)}"

    @classmethod
    def parse(cls, address: str) -> "ShardMember":
        """Read an address.

        Raises:
            ValueError: It is none.
        """
        shard, _, fragment = address.removeprefix(storage.SHARD_PREFIX).rpartition("#")
        try:
            facts = {key: value for key, (value,) in parse_qs(fragment).items()}
            shard = shard if storage.is_remote(shard) else storage.local_path(shard)
            cached = None
            if "cache" in facts:
                cache = ShardCache(facts["cache"], int(facts["limit"]))
                cached = CachedShard(cache, shard, int(facts["bytes"]), facts["sha256"])
            numbers = int(facts["offset"]), int(facts["size"]), int(facts["crc32"], 16)
            return cls(shard, *numbers, facts["name"], cached)
        except (KeyError, ValueError) as error:
            raise ValueError(
                f"{hide_secrets(address)} is no address of a video in a shard"
            ) from error

    def read(self, *, timeout: float = storage.TIMEOUT_SECONDS) -> bytes:
        """Return the bytes of the video.

        Raises:
            UnreadableVideoError: The shard is missing, truncated or damaged.
            StorageError: The shard cannot be reached.
        """
        try:
            if self.cached is not None:
                return self._read_cached()
            data = self._read_from(self.shard, timeout)
        except storage.MissingStoredFileError:
            raise self._unreadable("missing", "there is no such shard") from None
        self._check(data)
        return data

    def _read_cached(self) -> bytes:
        """Read from this machine's copy, fetched once more should it be damaged here."""
        num_damaged = 0
        for _ in range(CACHE_ATTEMPTS):
            file = self.cached.fetch()
            try:
                data = self._read_from(file, storage.TIMEOUT_SECONDS)
            except storage.MissingStoredFileError:
                continue  # another process has just made room
            if self._is_whole(data) or num_damaged:
                self._check(data)
                return data
            num_damaged += 1
            self.cached.discard()
        raise storage.StorageError(
            f"shards leave cache_dir={self.cached.cache.folder} before they are read; raise "
            "cache_gigabytes to hold all shards in use: window shards for each process, and more"
        )

    def _read_from(self, file: str, timeout: float) -> bytes:
        return storage.read_range(file, self.offset, self.offset + self.size, timeout=timeout)

    def _is_whole(self, data: bytes) -> bool:
        return len(data) == self.size and zlib.crc32(data) == self.crc32

    def _check(self, data: bytes) -> None:
        remedy = "copy the shard again, or make it anew"
        if len(data) < self.size:
            raise self._unreadable(
                "truncated",
                f"the shard ends {self.size - len(data)} bytes before the video does; {remedy}",
            )
        if not self._is_whole(data):
            raise self._unreadable(
                "corrupt", f"its bytes do not have the checksum of the index; {remedy}"
            )

    def _unreadable(self, reason: Reason, detail: str) -> Exception:
        return unreadable(f"{self.name} in {hide_secrets(self.shard)}", reason, detail)
