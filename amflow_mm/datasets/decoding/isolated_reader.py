"""Frames through decoders that may crash or never return, and therefore run in a child process."""

import os

import numpy as np
from jaxtyping import UInt8

from amflow_mm.datasets.decoding.child_process import child_of
from amflow_mm.datasets.decoding.errors import UnreadableVideoError, unreadable
from amflow_mm.datasets.decoding.foreign import Request
from amflow_mm.datasets.decoding.pyav_reader import PyAVReader
from amflow_mm.datasets.decoding.reader import VideoReader
from amflow_mm.datasets.decoding.source import VideoSource
from amflow_mm.datasets.decoding.time_limit import TimeLimit


class IsolatedReader(VideoReader):
    """Frames by number through a decoder in another process.

    PyAV lists the packets here, so that numbers mean the same as everywhere. The process serves
    all readers of its backend, one after the other, and is started anew after it had to be killed.

    Args:
        source: Of the video.
        backend: Name of the decoder.
        num_threads: Of the decoder.
        timeout: Seconds that may be spent in all calls together.

    Raises:
        UnreadableVideoError: It is no video, or PyAV was too slow.
    """

    def __init__(
        self, source: VideoSource, *, backend: str, num_threads: int = 1, timeout: float = 60.0
    ) -> None:
        """Number the frames; the decoder is not asked yet."""
        self.name = source.name
        self.backend = backend
        self._source = source
        self._num_threads = num_threads
        self._limit = TimeLimit(timeout, source.name)
        with self._limit:
            self._listed = PyAVReader(source, timeout=timeout)
        self.num_frames = self._listed.num_frames
        self.fps = self._listed.fps
        self._times = _shown_seconds(self._listed)

    @property
    def height(self) -> int:
        """Pixels of a frame as it is shown, that is after rotation."""
        return self._listed.height

    @property
    def width(self) -> int:
        """Pixels of a frame as it is shown, that is after rotation."""
        return self._listed.width

    def _read(self, frames: list[int]) -> UInt8[np.ndarray, "T height width 3"]:
        request = Request(
            self._source,
            self._num_threads,
            self.num_frames,
            frames,
            times=self._times,
            container=self._listed.container.format.name,
            is_interlaced=self._is_interlaced(),
        )
        child = child_of(self.backend, os.getpid())
        failure = child.start()  # outside of the limit: the video is not to blame
        if failure is not None:
            reason, text = failure
            raise unreadable(self.name, reason, text)
        with self._limit:
            answer = child.ask(request, self._limit)
        if isinstance(answer, tuple):
            reason, text = answer
            raise UnreadableVideoError(text, path=self.name, reason=reason)
        return answer

    def _is_interlaced(self) -> bool:
        """Tell whether frames are woven, as far as PyAV can decode one."""
        try:
            return self._listed.is_interlaced
        except UnreadableVideoError as error:
            if error.reason == "timeout":
                raise
            return False

    def close(self) -> None:
        """Let go of the file; may be called again."""
        self._listed.close()


def _shown_seconds(reader: PyAVReader) -> list[float] | None:
    """Tell when each frame is shown, from the start that the file declares."""
    if reader.time_base is None:
        return None
    start = reader.container.streams.video[0].start_time or 0
    return [float((time - start) * reader.time_base) for time in reader.table.times]
