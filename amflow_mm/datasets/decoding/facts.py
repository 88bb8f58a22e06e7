"""What a video file holds, as far as it can be told from its packets."""

import os
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from amflow_mm.datasets.decoding.errors import UnreadableVideoError
from amflow_mm.datasets.decoding.packets import codec_name
from amflow_mm.datasets.decoding.pyav_reader import PyAVReader
from amflow_mm.datasets.decoding.source import VideoSource, make_source

STEADY_SHARE = 0.1
"""Share of a step in time by which the steps of a constant rate may differ from each other."""


@dataclass(frozen=True)
class VideoFacts:
    """What is known of a video file.

    Attributes:
        num_frames: Frames that are there, in the span that is shown.
        declared_frames: As the header says; None where it does not.
        fps: Frames per second, the average where the rate varies; 0 where there is no telling.
        width: Pixels of a frame as it is shown, that is after rotation.
        height: Likewise.
        rotation: Degrees counter-clockwise that the file asks for: 0, 90, 180 or 270.
        codec: Name of the format, such as ``h264``.
        pixel_format: FFmpeg's name, such as ``yuv420p``.
        duration: Seconds from the first frame to the end of the last.
        start_time: Seconds at which the first frame is shown.
        is_variable_rate: Whether the steps between frames differ by more than rounding.
        has_audio: Whether there is sound.
        gop_size: Longest distance of key frames, in frames; what a random access costs.
        num_bytes: Size of the file.
    """

    num_frames: int
    declared_frames: int | None
    fps: float
    width: int
    height: int
    rotation: int
    codec: str
    pixel_format: str
    duration: float
    start_time: float
    is_variable_rate: bool
    has_audio: bool
    gop_size: int
    num_bytes: int


def probe_video(path: str | os.PathLike[str] | VideoSource, *, timeout: float = 60.0) -> VideoFacts:
    """List the packets of a video and decode its first frame, which alone tells the rotation.

    Args:
        path: Path or URL.
        timeout: Seconds until it is given up.

    Raises:
        UnreadableVideoError: It is no video, or not one frame of it is there.
    """
    source = path if isinstance(path, VideoSource) else make_source(path)
    with PyAVReader(source, timeout=timeout) as reader:
        streams = reader.container.streams
        stream = streams.video[0]
        context = stream.codec_context
        rotation = _find_rotation(reader)
        size = reader.coded_size
        times = _seconds(reader)
        step = 1 / reader.fps if reader.fps else 0.0
        return VideoFacts(
            num_frames=reader.num_frames,
            declared_frames=stream.frames or None,
            fps=reader.fps,
            width=size[rotation % 180 == 0],
            height=size[rotation % 180 != 0],
            rotation=rotation,
            codec=codec_name(reader.container),
            pixel_format=(context and context.pix_fmt) or "",
            duration=float(times[-1] - times[0]) + step,
            start_time=float(times[0]),
            is_variable_rate=_varies(times, stream.time_base),
            has_audio=bool(streams.audio),
            gop_size=reader.num_frames if reader.table is None else reader.table.gop_size,
            num_bytes=source.num_bytes,
        )


def _find_rotation(reader: PyAVReader) -> int:
    """Return the rotation; 0 where the first frame is damaged."""
    try:
        return reader.rotation
    except UnreadableVideoError as error:
        if error.reason != "corrupt":
            raise
        return 0


def _seconds(reader: PyAVReader) -> np.ndarray:
    """Tell when each frame is shown; where the file does not, at a constant rate."""
    if reader.time_base is None:
        return np.arange(reader.num_frames) / (reader.fps or 1)
    return np.asarray(reader.table.times) * float(reader.time_base)


def _varies(times: np.ndarray, unit: Fraction) -> bool:
    """Tell whether the steps between frames differ by more than rounding to units explains."""
    steps = np.diff(times)
    if not steps.size:
        return False
    step = float(np.median(steps))
    # A unit as long as a step, as AVI has it, rounds nothing: a step of two is a missing frame.
    rounding = float(unit) if unit < step / 2 else 0.0
    return bool(np.ptp(steps) > max(STEADY_SHARE * step, 1.01 * rounding))
