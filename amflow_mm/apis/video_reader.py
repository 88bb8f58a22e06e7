"""Streaming reader of video files: one frame at a time, whatever the length."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8

from amflow_mm.datasets.decoding import UnreadableVideoError
from amflow_mm.datasets.decoding.errors import unreadable
from amflow_mm.datasets.decoding.pictures import to_rgb
from amflow_mm.datasets.decoding.source import make_source, open_container
from amflow_mm.datasets.video_files.stream import DEFAULT_RATE
from amflow_mm.engine.errors import MissingFileError

__all__ = ["UnreadableVideoError", "VideoFrame", "VideoInfo", "probe_video", "read_frames"]


@dataclass(frozen=True)
class VideoInfo:
    """What the header of a video file says.

    Attributes:
        fps: Frames per second, the average where the rate varies.
        num_frames: As declared, which damaged files do not keep to.
    """

    fps: float
    num_frames: int


@dataclass(frozen=True)
class VideoFrame:
    """One decoded frame.

    Attributes:
        image: RGB, upright.
        time: Seconds since the first frame.
    """

    image: UInt8[np.ndarray, "height width 3"]
    time: float


def probe_video(path: str | os.PathLike[str]) -> VideoInfo:
    """Read the header of a video, in no time also where it is hours long.

    Raises:
        MissingFileError: There is no such file.
        UnreadableVideoError: It is no video.
    """
    with _open_video(path) as container:
        stream = container.streams.video[0]
        fps = stream.average_rate or stream.guessed_rate
        if not fps:
            raise unreadable(path, "no_frames", "the file declares no frame rate")
        if stream.duration is not None:
            duration = float(stream.duration * stream.time_base)
        else:
            duration = (container.duration or 0) / av.time_base
        return VideoInfo(float(fps), stream.frames or round(duration * fps))


def read_frames(
    path: str | os.PathLike[str], *, num_frames: int | None = None
) -> Iterator[VideoFrame]:
    """Decode a video frame by frame.

    Damaged packets are skipped with a warning that counts them.

    Args:
        path: Of the video.
        num_frames: Stop after so many; the whole video by default.

    Raises:
        MissingFileError: There is no such file.
        UnreadableVideoError: Not one frame can be decoded.
    """
    first_time = None
    count = 0
    converter = VideoReformatter()
    with _open_video(path) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or stream.guessed_rate or DEFAULT_RATE)
        # Noted once because a stream may change its size on the way.
        size = (stream.codec_context.height, stream.codec_context.width)
        for frame in _decode(container, path):
            # Bare streams carry no time stamps.
            time = count / rate if frame.time is None else frame.time
            first_time = time if first_time is None else first_time
            image = np.ascontiguousarray(to_rgb(frame, converter, size))
            yield VideoFrame(image, time - first_time)
            count += 1
            if count == num_frames:
                return
    if not count:
        detail = "not one frame can be decoded; is the file damaged?"
        raise unreadable(path, "no_frames", detail)


def _open_video(path: str | os.PathLike[str]) -> av.container.InputContainer:
    try:
        container = open_container(make_source(path))
    except UnreadableVideoError as error:
        if error.reason == "missing":
            raise MissingFileError(str(error)) from error
        raise
    if container.streams.video[0].codec_context is None:
        container.close()
        raise unreadable(path, "no_decoder", "there is no decoder for its video stream")
    return container


def _decode(
    container: av.container.InputContainer, path: str | os.PathLike[str]
) -> Iterator[av.VideoFrame]:
    """Decode packet by packet, so that a damaged one costs its own frames only."""
    damaged = 0
    try:
        for packet in container.demux(video=0):
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                damaged += 1
                continue
            yield from frames
    except av.error.FFmpegError as error:
        raise unreadable(path, "corrupt", f"decoding failed ({error.strerror})") from error
    if damaged:
        warnings.warn(
            f"{path}: {damaged} damaged packets were skipped; frames are missing", stacklevel=3
        )
