"""Which videos cannot be read: known to all processes, told by the samples that stand in."""

import errno
from typing import Final, get_args

import torch

from amflow_mm.datasets.decoding.errors import Reason, UnreadableVideoError

SKIPPED: Final = "skipped_videos"
"""Metainfo of a sample that stands in for an unreadable video: {path: what is wrong with it}.

Whatever counts, logs or leaves out such samples looks for it.
"""

UNREADABLE = "unreadable"
"""The reason where there is no better one."""

REASONS = (*get_args(Reason), UNREADABLE)

# Another file would fail as well, or the fault is in writing.
_FAULTS_OF_THE_MACHINE = {
    errno.EDQUOT,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.ENOSPC,
    errno.EROFS,
}


def is_unreadable(error: Exception) -> bool:
    """Tell whether an error speaks of the file that was read, not of the program or machine."""
    if isinstance(error, OSError):
        return error.errno not in _FAULTS_OF_THE_MACHINE
    return isinstance(error, UnreadableVideoError)


def reason_of(error: Exception) -> str:
    """Return one of ``REASONS``."""
    if isinstance(error, UnreadableVideoError) and error.reason is not None:
        return error.reason
    return "missing" if isinstance(error, FileNotFoundError) else UNREADABLE


class SkipLedger:
    """One byte for each video of a list, in memory that data workers and their parent share.

    It outlives the workers, so that a file that failed once is not opened again in any epoch.

    Args:
        size: Videos of the list.
    """

    def __init__(self, size: int) -> None:
        self._codes = torch.zeros(size, dtype=torch.uint8).share_memory_()

    def mark(self, index: int, reason: str) -> None:
        """Note that a video cannot be read."""
        self._codes[index] = 1 + REASONS.index(reason)

    def reason(self, index: int) -> str | None:
        """Return why a video cannot be read; None as long as nobody has failed."""
        code = int(self._codes[index])
        return REASONS[code - 1] if code else None
