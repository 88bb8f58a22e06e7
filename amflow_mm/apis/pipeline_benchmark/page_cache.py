"""Files that the operating system keeps in memory, and how to make it forget them."""

import errno
import os
from collections.abc import Iterable
from pathlib import Path

PROBED_BYTES = 4096


def warm_up(paths: Iterable[Path]) -> None:
    """Read files, so that a measurement does not meet the disk."""
    for path in paths:
        path.read_bytes()


def drop_from_memory(paths: Iterable[Path]) -> bool:
    """Ask the system to forget files; tell whether it did.

    Pages that some process has mapped, and file systems in memory, stay.
    """
    if not hasattr(os, "posix_fadvise"):
        return False
    kept = [path for path in paths if not _drop(path)]
    return not kept


def _drop(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Pages that were not written back yet cannot be dropped.
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return not _is_in_memory(descriptor)
    finally:
        os.close(descriptor)


def _is_in_memory(descriptor: int) -> bool:
    """Tell whether the start of a file can be read without waiting for a disk."""
    try:
        return os.preadv(descriptor, [bytearray(PROBED_BYTES)], 0, os.RWF_NOWAIT) > 0
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return False
        if error.errno == errno.EOPNOTSUPP:  # the file system cannot tell
            return True
        raise
