"""A video file decoded from its first frame to its last, with an account of what is damaged."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise

import av
from av.stream import Disposition

from amflow_mm.datasets.decoding.errors import unreadable
from amflow_mm.datasets.decoding.source import make_source, open_container

MATROSKA = "matroska"
DEFAULT_RATE = 25
"""Frames per second of files that tell neither a rate nor times, such as bare streams."""
MAX_ROUNDING = Fraction(1, 500)
"""Seconds that time stamps of a steady rate may be off; Matroska's and FLV's are milliseconds."""


class WholeVideo:
    """The video stream of an open file; the counts are complete once all frames were read.

    Attributes:
        stream: PyAV's stream.
        num_packets: Compressed frames that were read.
        num_damaged: Packets that could not be decoded and frames that decoded with errors.
        lost_end: Why reading ended early; empty if it did not.
    """

    def __init__(self, container: av.container.InputContainer, stream: av.VideoStream) -> None:
        self._container = container
        self.stream = stream
        self.num_packets = 0
        self.num_damaged = 0
        self.lost_end = ""
        self._last_time = Fraction(0)

    def frames(self) -> Iterator[av.VideoFrame]:
        """Decode all frames in the order in which they are shown.

        Packets that cannot be decoded cost their own frames only.
        """
        packets = self._container.demux(self.stream)
        try:
            for packet in packets:
                self.num_packets += packet.size > 0
                self._note_time(packet)
                try:
                    frames = packet.decode()
                except av.error.InvalidDataError:
                    self.num_damaged += 1
                    continue
                for frame in frames:
                    self.num_damaged += frame.is_corrupt
                    yield frame
        except av.error.FFmpegError as error:
            self.lost_end = error.strerror or str(error)

    @property
    def declared_frames(self) -> int | None:
        """Frames as the header counts them, None where it does not."""
        return self.stream.frames or None

    @property
    def has_audio(self) -> bool:
        """Whether there is sound."""
        return bool(self._container.streams.audio)

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel over its height; 1 where the file does not say."""
        context = self.stream.codec_context
        return self.stream.sample_aspect_ratio or context.sample_aspect_ratio or Fraction(1)

    def missing_end(self) -> str:
        """Say how much the file lacks against its header, empty if nothing; after reading.

        One frame is let pass: AVI files with B-frames often count one that is not there.
        """
        if self.lost_end:
            return f"reading stopped after {self.num_packets} packets ({self.lost_end})"
        declared = self.declared_frames
        if declared is not None:
            lacks = self.num_packets < declared - 1
            return f"{self.num_packets} of {declared} frames are there" if lacks else ""
        # Matroska states no count, but a duration. Other formats without a count estimate both.
        if MATROSKA not in self._container.format.name:
            return ""
        seconds = self._declared_seconds()
        lacks = seconds - float(self._last_time) > max(1.0, 0.02 * seconds)
        return f"{float(self._last_time):.1f} of {seconds:.1f} s are there" if lacks else ""

    def _note_time(self, packet: av.Packet) -> None:
        if packet.pts is not None and packet.time_base is not None:
            end = (packet.pts + (packet.duration or 0)) * packet.time_base
            self._last_time = max(self._last_time, end)

    def _declared_seconds(self) -> float:
        """Return the video's duration, or 0 where only that of the sound may be known."""
        text = self.stream.metadata.get("DURATION", "")
        parts = text.split(":")
        if len(parts) == 3 and all(part.replace(".", "", 1).isdigit() for part in parts):
            hours, minutes, seconds = map(float, parts)
            return 3600 * hours + 60 * minutes + seconds
        if self.has_audio or self._container.duration is None:
            return 0.0
        return self._container.duration / av.time_base


@contextmanager
def open_whole_video(path: str | os.PathLike[str]) -> Iterator[WholeVideo]:
    """Open a file to decode all of it, on one thread.

    Raises:
        UnreadableVideoError: It is no video that can be decoded.
    """
    with open_container(make_source(path)) as container:
        # A cover picture of a sound file counts as a stream of video, of one frame.
        streams = [
            stream
            for stream in container.streams.video
            if not stream.disposition & Disposition.attached_pic
        ]
        if not streams:
            raise unreadable(path, "no_video_stream", "there is a cover picture, but no video")
        if streams[0].codec_context is None:
            raise unreadable(path, "no_decoder", "there is no decoder for the video stream")
        streams[0].thread_type = "NONE"
        streams[0].codec_context.thread_count = 1
        yield WholeVideo(container, streams[0])


class FrameClock:
    """Times of frames, in seconds since the first.

    Some files carry no times, or times out of order: AVI files with B-frames count packets. Their
    frames are then taken to follow each other at the average rate, as players do.

    Attributes:
        rate: Frames per second, the average as the header says.
        is_ordered: Whether each frame so far has a time later than that of the frame before.
    """

    def __init__(self, stream: av.VideoStream) -> None:
        """Start without frames."""
        rate = stream.average_rate or stream.guessed_rate
        self.rate = Fraction(rate or DEFAULT_RATE)
        self.is_ordered = True
        self._stamps: list[Fraction | None] = []

    def note(self, frame: av.VideoFrame) -> None:
        """Add the next frame."""
        stamp = None
        if frame.pts is not None and frame.time_base is not None:
            stamp = frame.pts * frame.time_base
        is_later = stamp is not None and (not self._stamps or self._stamps[-1] < stamp)
        self.is_ordered = self.is_ordered and is_later
        self._stamps.append(stamp)

    @property
    def is_variable(self) -> bool:
        """Whether the steps between frames differ by more than rounding."""
        if not self.is_ordered or len(self._stamps) < 3:
            return False
        steps = [late - early for early, late in pairwise(self._stamps)]
        return max(steps) - min(steps) > MAX_ROUNDING

    def times(self) -> list[Fraction]:
        """Return the time of each frame since the first."""
        if self.is_ordered:
            return [stamp - self._stamps[0] for stamp in self._stamps]
        return [index / self.rate for index in range(len(self._stamps))]
