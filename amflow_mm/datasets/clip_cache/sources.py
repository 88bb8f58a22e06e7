"""What tells one video from another, and from itself before a change, without reading it."""

import os
import stat
from functools import lru_cache
from typing import NamedTuple

from amflow_mm.datasets import storage
from amflow_mm.datasets.remote_files import call_remote
from amflow_mm.datasets.shards.member import ShardMember

_REMEMBERED = 1 << 18
"""Sources of which the facts are kept, so that they are asked for once in a run."""

_VERSIONS = (
    *("ETag", "etag", "generation", "md5", "md5Hash", "checksum", "sha256"),
    *("LastModified", "last_modified", "mtime", "modified", "updated", "created"),
)
"""Under which names stores tell the version of a file."""

Facts = tuple[int | str, ...]


class Source(NamedTuple):
    """A video.

    Attributes:
        name: Its path or URL; inside a shard, its path in the list.
        facts: Its size, -1 if there is no such file, and what else changes when it does.
    """

    name: str
    facts: Facts


def find_source(address: str) -> Source:
    """Return what an address of a video leads to.

    A file on disk is looked at anew at each visit. A store, or a folder of frames, is asked once:
    that takes as long as what the cache saves.

    Raises:
        StorageError: A store cannot be asked.
    """
    if address.startswith(storage.SHARD_PREFIX):
        member = ShardMember.parse(address)
        return Source(member.name, (member.size, member.crc32))
    if storage.is_remote(address):
        return Source(address, _remote_facts(address))
    path = storage.local_path(address)
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return Source(path, (-1,))  # the steps say what is missing, or read it from elsewhere
    if stat.S_ISDIR(status.st_mode):
        return Source(path, _folder_facts(path))
    return Source(path, (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=_REMEMBERED)
def _remote_facts(url: str) -> Facts:
    try:
        info = call_remote(url, "info")
    except storage.MissingStoredFileError:
        return (-1,)
    versions = [f"{name}={info[name]}" for name in _VERSIONS if info.get(name) is not None]
    return (int(info.get("size") or 0), *versions)


@lru_cache(maxsize=_REMEMBERED)
def _folder_facts(path: str) -> Facts:
    with os.scandir(path) as entries:
        statuses = [entry.stat() for entry in entries if entry.is_file()]
    newest = max((status.st_mtime_ns for status in statuses), default=0)
    return sum(status.st_size for status in statuses), len(statuses), newest
