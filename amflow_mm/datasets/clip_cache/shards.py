"""Files of a cache folder, and the locks that keep writers apart.

    <machine>-<random>.clips   payloads, one after the other; only ever appended to
    <machine>-<random>.index   their records (index.py); a shard exists when this file does
    recipes/<recipe>.json      how clips were made
    writers.lock               shared by writers, held alone by `prune`
    size.lock                  held while something is added under a size limit

A writer claims a shard of its own, among those of its own machine: locks of a network file system
are not always seen by other machines.
"""

import errno
import fcntl
import hashlib
import os
import platform
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DATA_SUFFIX, INDEX_SUFFIX = ".clips", ".index"
WRITERS_LOCK, SIZE_LOCK = "writers.lock", "size.lock"
RECIPES = "recipes"
SHARD_BYTES = 4 << 30
"""A shard that has grown beyond this takes no more clips."""

_MODE = 0o666


def list_shards(folder: Path) -> dict[str, int]:
    """Return the names of the shards in order, with the sizes of their indices in bytes."""
    try:
        with os.scandir(folder) as entries:
            sizes = {e.name: e.stat().st_size for e in entries if e.name.endswith(INDEX_SUFFIX)}
    except FileNotFoundError:
        return {}
    return {name.removesuffix(INDEX_SUFFIX): sizes[name] for name in sorted(sizes)}


def data_path(folder: Path, shard: str) -> Path:
    """Return the file of a shard's payloads."""
    return folder / f"{shard}{DATA_SUFFIX}"


def index_path(folder: Path, shard: str) -> Path:
    """Return the file of a shard's records."""
    return folder / f"{shard}{INDEX_SUFFIX}"


def recipe_path(folder: Path, recipe: int) -> Path:
    """Return the file that says how the clips of a recipe are made."""
    return folder / RECIPES / f"{recipe:016x}.json"


def new_shard_name() -> str:
    """Return a name that no shard has, which begins with that of this machine."""
    return f"{machine_name()}-{uuid.uuid4().hex[:12]}"


def machine_name() -> str:
    """Return a short name of this machine."""
    return hashlib.blake2b(platform.node().encode(), digest_size=4).hexdigest()


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a cache."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:  # `prune` is done with it
            continue
    return total


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file until it is closed, unless somebody else has."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def open_file(path: Path, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """Open a file of the cache, which others may write to as well."""
    return os.open(path, flags | os.O_CLOEXEC, _MODE)


@contextmanager
def size_locked(folder: Path) -> Iterator[None]:
    """Keep all other writers from adding anything while the block runs."""
    descriptor = open_file(folder / SIZE_LOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
