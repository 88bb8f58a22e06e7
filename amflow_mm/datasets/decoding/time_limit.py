"""A budget of seconds for one video."""

import time
from types import TracebackType

from amflow_mm.datasets.decoding.errors import unreadable


class TimeLimit:
    """The seconds that may be spent on a video, over all calls; time between calls is free.

    Used as a context around each call and checked within.

    Args:
        seconds: In all.
        name: Of the video.
    """

    def __init__(self, seconds: float, name: str) -> None:
        """Start with all of the seconds."""
        self.seconds = seconds
        self.name = name
        self.left = seconds
        self._entered = 0.0

    def __enter__(self) -> None:
        """Let the clock run."""
        self._entered = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the clock."""
        self.left = self.remaining()

    def remaining(self) -> float:
        """Return the seconds that are left, while the clock runs."""
        return self.left - (time.monotonic() - self._entered)

    def check(self) -> None:
        """Raise where the seconds are used up."""
        if self.remaining() < 0:
            raise unreadable(
                self.name,
                "timeout",
                f"not read within {self.seconds:g} s; raise timeout if the disk is slow",
            )
