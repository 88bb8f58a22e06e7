"""Whole shards on this machine's disk, fetched once for all processes and epochs."""

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from amflow_mm.datasets import storage
from amflow_mm.datasets.remote_files import StorageError, hide_secrets

FETCH_BYTES = 32 << 20
"""What is asked of a store at a time."""

LOCK_SECONDS = 3600.0
"""How long to wait for another process to fetch a shard."""

DAMAGED_SECONDS = 600.0
"""How long a shard that is damaged at its source is not fetched again."""


class ShardCache(NamedTuple):
    """A folder that holds the most recently used shards.

    Shards are named by their digest, so that several sets may share the folder. It must be on a
    disk of this machine, where locks between processes work.

    Args:
        folder: Where; made at the first fetch.
        max_bytes: Limit of all shards together.
    """

    folder: str
    max_bytes: int

    def path(self, sha256: str, suffix: str = ".tar") -> Path:
        """Return where a shard is kept."""
        return Path(self.folder) / f"{sha256}{suffix}"

    @contextlib.contextmanager
    def locked(self, name: str, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
        """Hold a lock among the processes of this machine.

        Raises:
            StorageError: Another process holds it for too long.
        """
        path = self.path(name, ".lock")
        try:
            with FileLock(path, timeout=seconds):
                yield
        except Timeout:
            raise StorageError(
                f"another process has held {path} for {seconds:.0f} s; look whether it hangs"
            ) from None

    def reserve(self, sha256: str, num_bytes: int) -> Path:
        """Make room for a shard, and return the file to write it to, which counts as its size.

        Raises:
            StorageError: The limit or the disk is too small.
        """
        partial = self.path(sha256, ".part")
        partial.unlink(missing_ok=True)
        with self.locked("room"):
            self._drop_leftovers()
            self._make_room(num_bytes)
            with open(partial, "wb") as file:
                file.truncate(num_bytes)
        return partial

    def _drop_leftovers(self) -> None:
        """Remove what processes that were killed had begun to fetch."""
        for partial in Path(self.folder).glob("*.part"):
            with contextlib.suppress(Timeout), FileLock(partial.with_suffix(".lock"), timeout=0):
                partial.unlink(missing_ok=True)

    def _make_room(self, num_bytes: int) -> None:
        if num_bytes > self.max_bytes:
            raise StorageError(
                f"a shard of {num_bytes / 1e9:.2f} GB does not fit into cache_dir={self.folder} "
                f"of {self.max_bytes / 1e9:.2f} GB; raise cache_gigabytes"
            )
        files = self._files()
        used = sum(status.st_size for status in files.values())
        whole = [path for path in files if path.suffix == ".tar"]
        for oldest in sorted(whole, key=lambda path: files[path].st_mtime_ns):
            if used + num_bytes <= self.max_bytes:
                break
            # Who has it open reads on; who opens it next fetches it again.
            oldest.unlink(missing_ok=True)
            used -= files[oldest].st_size
        free = shutil.disk_usage(self.folder).free
        if num_bytes > free:
            raise StorageError(
                f"a shard of {num_bytes / 1e9:.2f} GB does not fit on the disk of "
                f"cache_dir={self.folder}, where {free / 1e9:.2f} GB are free; point it to a "
                "larger disk, or lower cache_gigabytes"
            )

    def _files(self) -> dict[Path, os.stat_result]:
        """Return the shards that are kept or being fetched."""
        files = {}
        for path in Path(self.folder).iterdir():
            if path.suffix in (".tar", ".part"):
                # What fails to be fetched or is found damaged may vanish at any time.
                with contextlib.suppress(FileNotFoundError):
                    files[path] = path.stat()
        return files


class CachedShard(NamedTuple):
    """A shard, and the cache that is to hold it.

    Args:
        cache: The cache.
        source: Path or URL of the shard.
        num_bytes: Its size.
        sha256: Its digest.
    """

    cache: ShardCache
    source: str
    num_bytes: int
    sha256: str

    def fetch(self) -> str:
        """Return the path of the shard on this machine, fetched if it is not there yet.

        Raises:
            StorageError: It cannot be fetched or kept.
        """
        path = self.cache.path(self.sha256)
        if not _touch(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self.cache.locked(self.sha256):
                if not _touch(path):
                    self._refuse_damaged()
                    self._fetch_into(path)
        return str(path)

    def discard(self) -> None:
        """Remove this machine's copy."""
        self.cache.path(self.sha256).unlink(missing_ok=True)

    @property
    def _damage_note(self) -> Path:
        """File whose age tells when the shard was last found damaged at its source."""
        return self.cache.path(self.sha256, ".damaged")

    def _refuse_damaged(self) -> None:
        """Raise for a shard that was found damaged just before, for the sake of another sample."""
        with contextlib.suppress(FileNotFoundError):
            if time.time() - self._damage_note.stat().st_mtime < DAMAGED_SECONDS:
                raise self._damaged()

    def _damaged(self) -> StorageError:
        return StorageError(
            f"shard {hide_secrets(self.source)} is not what its index says: truncated or damaged; "
            "copy it again, or make it anew"
        )

    def _fetch_into(self, path: Path) -> None:
        partial = self.cache.reserve(self.sha256, self.num_bytes)
        try:
            with open(partial, "r+b") as file:
                digest = hashlib.sha256()
                for start in range(0, self.num_bytes, FETCH_BYTES):
                    stop = min(start + FETCH_BYTES, self.num_bytes)
                    data = storage.read_range(self.source, start, stop)
                    digest.update(data)
                    file.write(data)
            if digest.hexdigest() != self.sha256:
                self._damage_note.touch()
                raise self._damaged()
            with self.cache.locked("room"):  # who makes room counts it under one of its names
                partial.replace(path)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise StorageError(f"{partial}: {error.strerror or error}") from error
        finally:
            partial.unlink(missing_ok=True)


def _touch(path: Path) -> bool:
    """Mark a shard as used just now; False if it is not there."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True
