"""Files by path or URL: a disk, or whatever fsspec speaks to (object stores, web servers, memory).

MMEngine's file back ends know a few stores, each with arguments of its own in each transform; here
a URL is enough.
"""

import contextlib
import io
import os
import posixpath
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote

from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.datasets.remote_files import (
    TIMEOUT_SECONDS,
    MissingStoredFileError,
    StorageError,
    call_remote,
    hide_secrets,
    make_parent,
)
from amflow_mm.errors import UserError

if TYPE_CHECKING:
    from amflow_mm.datasets.shards.member import ShardMember


class NotTextError(StorageError, ValueError):
    """A file that should be text is not."""


class LeavingPathError(UserError, ValueError):
    """A relative path leads out of the folder that it is relative to."""


StoredPath = str | os.PathLike[str]
"""A path or a URL."""

SHARD_PREFIX = "shard+"
"""How the address of a video in a shard begins; see ``shards/member.py``."""

SLOWEST_BYTES_PER_SECOND = 1 << 20
"""The speed below which an upload counts as stuck."""

_SCHEME = re.compile(r"(?:[A-Za-z0-9_.-]+:)?[A-Za-z][A-Za-z0-9_+.-]+(?:::[^/]*)?://")
_LOCAL_SCHEME = re.compile(r"(?:file|local)://")


def is_remote(path: StoredPath) -> bool:
    """Tell whether a path is a URL of anything but the local disk.

    Addresses of MMEngine's file back ends count too, also those with a cluster in front
    (``cluster:s3://bucket/a``), though nothing here can read the latter.
    """
    text = os.fspath(path)
    return _SCHEME.match(text) is not None and _LOCAL_SCHEME.match(text) is None


def local_path(path: StoredPath) -> str:
    """Return a local path without the ``file://`` that it may begin with."""
    return _LOCAL_SCHEME.sub("", os.fspath(path), count=1)


def join(root: StoredPath, path: StoredPath) -> str:
    """Return where a listed file is: a URL or a plain path.

    URLs and absolute paths stand for themselves.

    Args:
        root: Folder or URL that relative paths begin at; may be empty.
        path: Path as it stands in a list.

    Raises:
        LeavingPathError: The path leads out of the folder.
    """
    root, path = os.fspath(root), os.fspath(path)
    if is_remote(path):
        return path
    path = local_path(path)
    if os.path.isabs(path):
        return path
    # Web servers take %2e for a dot.
    meant = unquote(path) if is_remote(root) else path.replace(os.sep, "/")
    if posixpath.normpath(meant).split("/")[0] == "..":
        raise LeavingPathError(
            f"path {path!r} leaves its folder {hide_secrets(root)!r}; write paths relative to the "
            "folder, or absolute ones"
        )
    if not is_remote(root):
        return os.path.join(local_path(root), path)
    return f"{root.rstrip('/')}/{posixpath.normpath(path)}"


def read_bytes(path: StoredPath, *, timeout: float = TIMEOUT_SECONDS) -> bytes:
    """Return the contents of a file.

    Args:
        path: Path or URL.
        timeout: Seconds that each of the few attempts may take.

    Raises:
        StorageError: The file is missing, cannot be reached, or not in time.
        UnreadableVideoError: The file stands in a shard, which is damaged.
    """
    if _is_in_shard(path):
        return _find_in_shard(path).read(timeout=timeout)
    if is_remote(path):
        return call_remote(os.fspath(path), "cat_file", timeout=timeout)
    return _on_disk(path, lambda file: Path(file).read_bytes())


def read_range(
    path: StoredPath, start: int, stop: int, *, timeout: float = TIMEOUT_SECONDS
) -> bytes:
    """Return the bytes from ``start`` up to ``stop``, fewer where the file ends before.

    Raises:
        StorageError: See ``read_bytes``; or the server sends whole files only.
    """

    def read(file: str) -> bytes:
        with open(file, "rb") as opened:
            opened.seek(start)
            return opened.read(stop - start)

    if start >= stop:
        return b""
    if not is_remote(path):
        return _on_disk(path, read)
    data = call_remote(os.fspath(path), "cat_file", timeout=timeout, start=start, end=stop)
    if len(data) > stop - start:
        raise StorageError(
            f"{hide_secrets(os.fspath(path))}: {len(data)} bytes came where {stop - start} were "
            "asked for; the server does not serve parts of files (Range requests)"
        )
    return data


def read_text(path: StoredPath) -> str:
    """Return the contents of a text file in UTF-8.

    Raises:
        StorageError: See ``read_bytes``.
        NotTextError: The file is not text.
    """
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        shown = hide_secrets(os.fspath(path))
        raise NotTextError(f"{shown} is not text in UTF-8 ({error}); convert it") from None


def open_file(path: StoredPath) -> IO[bytes]:
    """Open a file for reading bytes, those of a remote one as they are asked for.

    Raises:
        StorageError: See ``read_bytes``.
    """
    if _is_in_shard(path):
        return io.BytesIO(read_bytes(path))
    if is_remote(path):
        return call_remote(os.fspath(path), "open", mode="rb")
    return _on_disk(path, lambda file: open(file, "rb"))


def exists(path: StoredPath) -> bool:
    """Tell whether there is such a file or folder.

    Raises:
        StorageError: The storage cannot be asked, which fsspec itself takes for a no.
    """
    if not is_remote(path):
        return os.path.exists(local_path(path))
    if _is_in_shard(path):
        return exists(_find_in_shard(path).shard)
    return _info(path) is not None


def is_folder(path: StoredPath) -> bool:
    """Tell whether there is such a folder; a web server knows none, hence False there.

    Raises:
        StorageError: The storage cannot be asked.
    """
    if not is_remote(path):
        return os.path.isdir(local_path(path))
    info = None if _is_in_shard(path) else _info(path)
    return info is not None and info["type"] == "directory"


def file_size(path: StoredPath) -> int:
    """Return the size of a file in bytes.

    Raises:
        StorageError: See ``read_bytes``; or the server does not tell.
    """
    if _is_in_shard(path):
        return _find_in_shard(path).size
    if not is_remote(path):
        return _on_disk(path, os.path.getsize)
    size = call_remote(os.fspath(path), "info").get("size")
    if size is None:
        raise StorageError(f"{hide_secrets(os.fspath(path))}: the server does not tell its size")
    return int(size)


def write_bytes(path: StoredPath, data: bytes) -> None:
    """Write a file, whole or not at all on disks and object stores; folders are made.

    Raises:
        StorageError: The storage does not take it.
    """

    def write(file: str) -> None:
        with atomic_path(file) as partial:
            partial.write_bytes(data)

    if not is_remote(path):
        _on_disk(path, write)
        return
    make_parent(os.fspath(path))
    timeout = _upload_timeout(len(data))
    call_remote(os.fspath(path), "pipe_file", after=(data,), timeout=timeout)


def upload(source: StoredPath, path: StoredPath) -> None:
    """Copy a local file to a URL or path, whole or not at all on disks and object stores.

    Raises:
        StorageError: The storage does not take it.
    """
    source = os.fspath(source)

    def copy(file: str) -> None:
        with atomic_path(file) as partial:
            shutil.copyfile(source, partial)

    if not is_remote(path):
        _on_disk(path, copy)
        return
    make_parent(os.fspath(path))
    timeout = _upload_timeout(os.path.getsize(source))
    call_remote(os.fspath(path), "put_file", before=(source,), timeout=timeout)


def remove(path: StoredPath) -> None:
    """Remove a file; one that is missing already is no error.

    Raises:
        StorageError: The storage refuses.
    """
    with contextlib.suppress(MissingStoredFileError):
        if is_remote(path):
            call_remote(os.fspath(path), "rm_file")
        else:
            _on_disk(path, os.remove)


def _is_in_shard(path: StoredPath) -> bool:
    return os.fspath(path).startswith(SHARD_PREFIX)


def _find_in_shard(path: StoredPath) -> "ShardMember":
    # Shards are themselves read through this module.
    from amflow_mm.datasets.shards.member import ShardMember

    return ShardMember.parse(os.fspath(path))


def _on_disk(path: StoredPath, function: Callable[[str], Any]) -> Any:
    """Do something with a local file, and say so if it fails."""
    file = local_path(path)
    try:
        return function(file)
    except FileNotFoundError:
        raise MissingStoredFileError(f"{file} does not exist") from None
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror or error}") from error


def _info(path: StoredPath) -> dict[str, Any] | None:
    try:
        return call_remote(os.fspath(path), "info")
    except MissingStoredFileError:
        return None


def _upload_timeout(num_bytes: int) -> float:
    return TIMEOUT_SECONDS + num_bytes / SLOWEST_BYTES_PER_SECOND
