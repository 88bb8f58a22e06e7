"""The first backend that can read a file, with the fallbacks counted."""

import logging
from collections import Counter

import numpy as np
from jaxtyping import UInt8
from mmengine.logging import print_log

from amflow_mm.datasets.decoding.backends import PACKAGES, is_installed, open_with
from amflow_mm.datasets.decoding.errors import UnreadableVideoError
from amflow_mm.datasets.decoding.reader import VideoReader
from amflow_mm.datasets.decoding.source import VideoSource
from amflow_mm.datasets.decoding.time_limit import TimeLimit

FALLBACK_REASONS = frozenset({"no_decoder", "no_backend", "crash"})
"""What another backend may do better.

The other reasons are facts about the file, or used up its time. Above all a damaged frame is no
reason: the other backends do not tell damage, and would pass it off as a good one.
"""

_served_by: dict[str, str] = {}
"""Backend of each file that needed a fallback, so that it is tried first the next time."""


def fallback_counts() -> dict[str, int]:
    """Return how many files ``auto`` could not read with its first choice, by what served them.

    Of this process; data workers have counts of their own.
    """
    return dict(Counter(_served_by.values()))


class AutoReader(VideoReader):
    """A video read by PyAV, or by the first other backend that can where PyAV cannot.

    Args:
        source: Of the video.
        num_threads: Of the decoder.
        timeout: Seconds for the video, whoever reads it.

    Raises:
        UnreadableVideoError: None can; the reason is that of the first.
    """

    def __init__(self, source: VideoSource, *, num_threads: int, timeout: float) -> None:
        """Open the video with the backend that served it last, or else with the first."""
        self.name = source.name
        self._source = source
        self._num_threads = num_threads
        self._limit = TimeLimit(timeout, source.name)
        self._errors: dict[str, UnreadableVideoError] = {}
        first, *others = PACKAGES
        backend = _served_by.get(source.name, first)
        self._others = [other for other in others if other != backend and is_installed(other)]
        with self._limit:
            self._reader = self._open(backend)

    @property
    def backend(self) -> str:
        """Name of the decoder that serves the video now."""
        return self._reader.backend

    @property
    def num_frames(self) -> int:
        """Frames that are there."""
        return self._reader.num_frames

    @property
    def fps(self) -> float:
        """Frames per second, the average where the rate varies."""
        return self._reader.fps

    @property
    def height(self) -> int:
        """Pixels of a frame as it is shown."""
        return self._reader.height

    @property
    def width(self) -> int:
        """Pixels of a frame as it is shown."""
        return self._reader.width

    def _open(self, backend: str) -> VideoReader:
        self._limit.check()
        seconds = self._limit.remaining()
        return open_with(backend, self._source, num_threads=self._num_threads, timeout=seconds)

    def _read(self, frames: list[int]) -> UInt8[np.ndarray, "T height width 3"]:
        with self._limit:
            while True:
                try:
                    images = self._reader.read(frames)
                except UnreadableVideoError as error:
                    if error.reason not in FALLBACK_REASONS:
                        raise
                    self._errors[self.backend] = error
                    self._advance()
                else:
                    self._remember()
                    return images

    def _advance(self) -> None:
        """Go on to the next backend; raise the first one's error where none is left."""
        self._reader.close()
        if self._others:
            self._reader = self._open(self._others.pop(0))
            return
        first = next(iter(self._errors.values()))
        told = [f"{b}: {str(e).removeprefix(f'{self.name}: ')}" for b, e in self._errors.items()]
        text = f"{self.name}: no backend can read it ({'; '.join(told)})"
        raise UnreadableVideoError(text, path=self.name, reason=first.reason) from first

    def _remember(self) -> None:
        """Count and log a fallback, once for each file."""
        if self._errors and _served_by.get(self.name) != self.backend:
            _served_by[self.name] = self.backend
            failed = ", ".join(self._errors)
            print_log(
                f"{self.name}: read with {self.backend}, because {failed} cannot: "
                f"{next(iter(self._errors.values()))}",
                logger="current",
                level=logging.WARNING,
            )

    def close(self) -> None:
        """Let go of the file; may be called again."""
        self._reader.close()
