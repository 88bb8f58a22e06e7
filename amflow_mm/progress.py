"""Progress of long steps: a bar on a terminal, a line per tenth in a log."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TextIO, TypeVar

Item = TypeVar("Item")

BAR_WIDTH = 30
REDRAW_SECONDS = 0.1
LOG_STEPS = 10
"""Lines that a step writes where there is no terminal."""


def format_duration(seconds: float) -> str:
    """Write a duration as minutes and seconds, with hours where there are any."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class ProgressBar:
    """Show how far a step is and how long the rest takes at the present speed.

    Args:
        total: Items of the whole step.
        description: What is being done.
        start: Items that an earlier run has done; they do not count for the speed.
        stream: Where to write; stderr by default, which keeps stdout for results.
        clock: Seconds since some moment.
    """

    def __init__(
        self,
        total: int,
        description: str,
        *,
        start: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if total < 0 or not 0 <= start <= total:
            raise ValueError(f"start={start} and total={total} must be 0 <= start <= total")
        self.total = total
        self.description = description
        self.done = start
        self._start = start
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._began = self._drawn = clock()
        self._is_terminal = self._stream.isatty()

    def advance(self, count: int = 1) -> None:
        """Tell that ``count`` more items are done."""
        before, self.done = self.done, self.done + count
        if not self._is_terminal:
            if self._tenth(self.done) > self._tenth(before):
                self._stream.write(f"{self._text()}\n")
                self._stream.flush()
        elif self.done >= self.total or self._clock() - self._drawn >= REDRAW_SECONDS:
            self._draw()

    def close(self) -> None:
        """End the line of the bar, also when the step was broken off."""
        if self._is_terminal:
            self._draw()
            self._stream.write("\n")
            self._stream.flush()

    def _tenth(self, done: int) -> int:
        return LOG_STEPS * done // max(self.total, 1)

    def _draw(self) -> None:
        filled = BAR_WIDTH * self.done // max(self.total, 1)
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        # The escape sequence erases what a longer text before may have left.
        self._stream.write(f"\r[{bar}] {self._text()}\x1b[K")
        self._stream.flush()
        self._drawn = self._clock()

    def _text(self) -> str:
        elapsed = self._clock() - self._began
        if self.done >= self.total:
            time_text = f"done in {format_duration(elapsed)}"
        elif self.done > self._start:
            rest = elapsed / (self.done - self._start) * (self.total - self.done)
            time_text = f"{format_duration(rest)} left"
        else:
            time_text = "starting"
        return f"{self.description}: {self.done}/{self.total}, {time_text}"


def track(
    iterable: Iterable[Item], *, total: int | None = None, description: str
) -> Iterator[Item]:
    """Yield the items of ``iterable`` and show the progress on stderr.

    Args:
        iterable: The items.
        total: How many there are, where ``len()`` cannot tell.
        description: What is being done.
    """
    if total is None:
        if not isinstance(iterable, Sized):
            raise ValueError(
                f"total=None with a {type(iterable).__name__}, which has no length; give total"
            )
        total = len(iterable)
    bar = ProgressBar(total, description)
    try:
        for item in iterable:
            yield item
            bar.advance()
    finally:
        bar.close()
