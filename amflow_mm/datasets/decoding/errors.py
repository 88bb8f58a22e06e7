"""Why a video cannot be read, in words that a caller can act on."""

from typing import Literal

from amflow_mm.errors import UserError

Reason = Literal[
    "missing",
    "empty",
    "no_video_stream",
    "no_decoder",
    "no_frames",
    "corrupt",
    "truncated",
    "timeout",
    "crash",
    "no_backend",
]
"""What is wrong, as one word.

``missing`` is a path that leads nowhere, ``empty`` a file without a byte, ``truncated`` one whose
end (and with it the index) is lost, ``no_frames`` a video stream without pictures, ``corrupt``
anything else that cannot be made out. ``timeout`` and ``crash`` are the reader's fate, and
``no_backend`` means that nothing installed can be used.
"""


class UnreadableVideoError(UserError, ValueError):
    """A video, or a frame of it that was asked for, cannot be read.

    The message comes first because PyTorch rebuilds an exception of a data worker from its text
    alone; ``path`` and ``reason`` are then None. Pickling keeps them.

    Args:
        message: What is wrong with which file, in a sentence.
        path: Of the video.
        reason: The same in one word.
    """

    def __init__(
        self, message: str, *, path: str | None = None, reason: Reason | None = None
    ) -> None:
        """Keep the parts beside the sentence."""
        super().__init__(message)
        self.path = path
        self.reason = reason


def unreadable(path: object, reason: Reason, detail: str) -> UnreadableVideoError:
    """Make the error for a file: its path, then what is wrong with it."""
    return UnreadableVideoError(f"{path}: {detail}", path=str(path), reason=reason)
