"""Calls of fsspec that end: bounded in time, tried a few times, with errors that say what to do.

fsspec finds credentials where the tools of each storage do; no message here holds a password or
the signature of a URL.
"""

import errno
import inspect
import re
import time
from typing import Any

from amflow_mm.errors import UserError

TIMEOUT_SECONDS = 60.0
"""How long one attempt may take."""
RETRY_DELAYS = (0.5, 2.0)
"""Seconds before each further attempt."""

PACKAGES = {
    "abfs": "adlfs",
    "az": "adlfs",
    "gcs": "gcsfs",
    "gs": "gcsfs",
    "hf": "huggingface_hub",
    "http": "aiohttp",
    "https": "aiohttp",
    "oss": "ossfs",
    "s3": "s3fs",
    "s3a": "s3fs",
    "sftp": "paramiko",
    "smb": "smbprotocol",
    "ssh": "paramiko",
    "webdav": "webdav4",
}
"""What to install for a protocol that fsspec knows but does not bring along."""

# Statuses of HTTP.
MISSING = {404, 410}
TRANSIENT = {408, 425, 429}
RANGE_NOT_SATISFIABLE = 416

# Asking again would get the same answer.
_PERMANENT = (
    AttributeError,
    FileExistsError,
    FileNotFoundError,
    ImportError,
    IsADirectoryError,
    NotADirectoryError,
    NotImplementedError,
    PermissionError,
    TypeError,
    ValueError,
)

_USER = re.compile(r"(://)[^/\s'\"]*@")
_QUERY = re.compile(r"(://[^\s'\"?]*\?)[^\s'\"]+|(\?)[\w.%-]+=[^\s'\"]*")


class StorageError(UserError, OSError):
    """A file cannot be read from or written to where it is kept."""


class MissingStoredFileError(StorageError, FileNotFoundError):
    """There is no such file."""


def hide_secrets(text: str) -> str:
    """Leave out what stands in URLs before an ``@`` or after a ``?``: passwords, signatures."""
    return _QUERY.sub(lambda query: f"{query[1] or query[2]}…", _USER.sub(r"\1…@", text))


def call_remote(
    url: str,
    method: str,
    *,
    timeout: float = TIMEOUT_SECONDS,
    before: tuple[Any, ...] = (),
    after: tuple[Any, ...] = (),
    **options: Any,
) -> Any:
    """Call a method of the file system behind a URL.

    Args:
        url: The file; its path is an argument of the method.
        method: Name of the method.
        timeout: Seconds that an attempt may take; protocols that fsspec calls synchronously (sftp,
            ftp, smb) have limits of their own.
        before: Arguments of the method before the path.
        after: Arguments behind it whose names differ from protocol to protocol.
        **options: Its other arguments.

    Raises:
        MissingStoredFileError: There is no such file.
        StorageError: The file cannot be reached, or not in time.
    """
    for delay in (*RETRY_DELAYS, None):
        try:
            file_system, path = _find_file_system(url)
            arguments = (*before, path, *after)
            return _call_once(file_system, method, *arguments, timeout=timeout, **options)
        except Exception as error:  # each protocol has exceptions of its own
            cause = _find_cause(error)
            if "start" in options and _is_past_end(cause):
                return b""
            if delay is None or not _may_pass(cause):
                raise _explain(cause, url, timeout) from None  # the original may tell secrets
        time.sleep(delay)
    raise AssertionError("the last attempt returns or raises")


def make_parent(url: str) -> None:
    """Make the folder of a file that is going to be written.

    Raises:
        StorageError: The storage refuses.
    """
    try:
        file_system, path = _find_file_system(url)
        # Object stores, all of them asynchronous, have no folders, and might make a bucket.
        if not file_system.async_impl:
            file_system.makedirs(file_system._parent(path), exist_ok=True)
    except Exception as error:  # each protocol has exceptions of its own
        raise _explain(error, url, TIMEOUT_SECONDS) from None


def _find_file_system(url: str) -> tuple[Any, str]:
    """Return the file system behind a URL, and the path within.

    It is looked up at every call: one that was made before a fork does not work after it.
    """
    # Importing fsspec takes time that those with local files need not spend.
    from fsspec.core import url_to_fs

    return url_to_fs(url)


def _call_once(
    file_system: Any, method: str, *arguments: Any, timeout: float, **options: Any
) -> Any:
    from fsspec.asyn import sync

    coroutine = getattr(file_system, f"_{method}", None)
    if file_system.async_impl and inspect.iscoroutinefunction(coroutine):
        return sync(file_system.loop, coroutine, *arguments, timeout=timeout, **options)
    return getattr(file_system, method)(*arguments, **options)


def _find_cause(error: Exception) -> Exception:
    """Return what is behind a missing file: fsspec calls a server that does not answer so too."""
    cause = error.__cause__
    if not isinstance(error, FileNotFoundError) or not isinstance(cause, Exception):
        return error
    status = _status(cause)
    is_trouble = isinstance(cause, OSError) if status is None else status not in MISSING
    return cause if is_trouble else error


def _status(error: Exception) -> int | None:
    """Return the status of HTTP behind an error, if there is one."""
    names = ("status", "status_code", "code")
    found = (getattr(error, name, None) for name in names)
    return next((status for status in found if isinstance(status, int)), None)


def _is_past_end(error: Exception) -> bool:
    """Tell whether a part was asked for that begins where the file has ended."""
    is_invalid = isinstance(error, OSError) and error.errno == errno.EINVAL  # s3fs
    return _status(error) == RANGE_NOT_SATISFIABLE or (is_invalid and "range" in str(error))


def _may_pass(error: Exception) -> bool:
    """Tell whether another attempt may succeed."""
    if isinstance(error, _PERMANENT):
        return False
    status = _status(error)
    return status is None or status in TRANSIENT or not 400 <= status < 500


def _explain(error: Exception, url: str, timeout: float) -> StorageError:
    """Say what is wrong and what can be done about it."""
    shown, reason = hide_secrets(url), hide_secrets(f"{type(error).__name__}: {error}")
    scheme = re.split(r":+", url, maxsplit=1)[0]
    if isinstance(error, FileNotFoundError):
        return MissingStoredFileError(f"{shown} does not exist")
    if isinstance(error, ImportError):
        package = PACKAGES.get(scheme)
        remedy = f"pip install {package}" if package else hide_secrets(str(error))
        return StorageError(f"{shown}: {scheme}:// needs a package that is missing; {remedy}")
    if isinstance(error, ValueError) and "rotocol not known" in str(error):
        known = ", ".join(PACKAGES)
        return StorageError(
            f"{shown}: {scheme}:// is no known protocol; known are file, memory, {known} and "
            "the others of fsspec"
        )
    if isinstance(error, NotImplementedError):
        return StorageError(f"{shown}: {scheme}:// does not support this ({reason})")
    if isinstance(error, PermissionError) or _status(error) in (401, 403):
        return StorageError(f"{shown}: access denied ({reason}); check your credentials")
    if _may_pass(error):
        attempts = f"{len(RETRY_DELAYS) + 1} attempts of at most {timeout:.0f} s"
        return StorageError(f"{shown} cannot be reached in {attempts}; the last one: {reason}")
    return StorageError(f"{shown}: {reason}")
