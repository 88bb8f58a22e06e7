"""Streaming reader of video files: one frame at a time, whatever the length."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from amflow_mm.engine.errors import MissingFileError, UserError


class UnreadableVideoError(UserError, ValueError):
    """A file exists, but holds no video that can be decoded."""


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
    """Read the header of a video.

    Raises:
        MissingFileError: There is no such file.
        UnreadableVideoError: It is no video.
    """
    with _open_video(path) as container:
        stream = container.streams.video[0]
        fps = stream.average_rate or stream.guessed_rate
        if not fps:
            raise UnreadableVideoError(f"{path}: the file declares no frame rate")
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
    with _open_video(path) as container:
        stream = container.streams.video[0]
        size = {"width": stream.codec_context.width, "height": stream.codec_context.height}
        for frame in _decode(container, path):
            # Bare streams carry no time stamps.
            time = count / float(stream.average_rate) if frame.time is None else frame.time
            first_time = time if first_time is None else first_time
            # The size is stated again because a stream may change it on the way.
            image = frame.to_ndarray(format="rgb24", **size)
            yield VideoFrame(_upright(image, frame.rotation), time - first_time)
            count += 1
            if count == num_frames:
                return
    if not count:
        raise UnreadableVideoError(f"{path}: not one frame can be decoded; is the file damaged?")


def _open_video(path: str | os.PathLike[str]) -> av.container.InputContainer:
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: there is no such video file")
    try:
        # Old AVI files carry titles in unknown encodings, which are not worth an error.
        container = av.open(os.fspath(path), metadata_errors="ignore")
    except av.error.FFmpegError as error:
        reason = error.strerror
        raise UnreadableVideoError(f"{path}: cannot be read as a video ({reason})") from error
    streams = container.streams.video
    if not streams or streams[0].codec_context is None:
        container.close()
        lack = "no decoder for its video stream" if streams else "no video stream in the file"
        raise UnreadableVideoError(f"{path}: there is {lack}")
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
        raise UnreadableVideoError(f"{path}: decoding failed ({error.strerror})") from error
    if damaged:
        warnings.warn(
            f"{path}: {damaged} damaged packets were skipped; frames are missing", stacklevel=3
        )


def _upright(
    image: UInt8[np.ndarray, "rows columns 3"], rotation: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Apply the rotation, in degrees counter-clockwise, that telephones store as metadata."""
    return np.ascontiguousarray(np.rot90(image, k=round(rotation / 90)))
