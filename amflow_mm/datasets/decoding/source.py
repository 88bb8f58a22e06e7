"""Where a video comes from, and how its container is opened."""

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import av
from av.stream import Disposition

from amflow_mm.datasets.decoding.errors import Reason, unreadable
from amflow_mm.datasets.storage import hide_secrets, is_remote, local_path, read_bytes

_BOX = struct.Struct(">I4s")
"""Length and name of an MP4 box."""

_FIRST_BOXES = (b"ftyp", b"mdat", b"moov", b"free", b"skip", b"wide")
"""What MP4 and QuickTime files begin with."""


@dataclass(frozen=True)
class VideoSource:
    """A video: a local path, or the bytes of one that was fetched.

    Attributes:
        name: What messages call it: its path, or its URL without secrets.
        content: The bytes; None for a local path.
    """

    name: str
    content: bytes | None = None

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return Path(self.name).stat().st_size if self.content is None else len(self.content)


def make_source(path: str | os.PathLike[str]) -> VideoSource:
    """Find a video on disk, or fetch it from where its URL leads.

    Raises:
        UnreadableVideoError: There is nothing, or it is empty.
    """
    if is_remote(path):
        name = hide_secrets(os.fspath(path))
        try:
            source = VideoSource(name, read_bytes(path))
        except FileNotFoundError as error:
            raise unreadable(name, "missing", "there is no such video file") from error
    else:
        source = VideoSource(local_path(path))
        if not Path(source.name).is_file():
            raise unreadable(source.name, "missing", "there is no such video file")
    if not source.num_bytes:
        raise unreadable(source.name, "empty", "cannot be read as a video: the file is empty")
    return source


def open_container(
    source: VideoSource, *, timeout: float | None = None
) -> av.container.InputContainer:
    """Open a file that has a video stream.

    Args:
        source: Of the video.
        timeout: Seconds until opening and each reading from the file are broken off.

    Raises:
        UnreadableVideoError: It is no video.
    """
    # The prefix keeps FFmpeg from taking what stands before a colon for a protocol.
    content = source.content
    file = f"file:{source.name}" if content is None else io.BytesIO(content)
    try:
        # Old AVI files carry titles in unknown encodings, which are not worth an error.
        container = av.open(file, metadata_errors="ignore", timeout=timeout)
    except (av.error.FFmpegError, OSError) as error:
        detail, reason = _explain(error, source)
        raise unreadable(source.name, reason, f"cannot be read as a video ({detail})") from error
    if all(stream.disposition & Disposition.attached_pic for stream in container.streams.video):
        container.close()  # there is none, or only the cover picture of a sound file
        raise unreadable(source.name, "no_video_stream", "there is no video stream in the file")
    return container


def _explain(error: OSError, source: VideoSource) -> tuple[str, Reason]:
    """Turn FFmpeg's error at opening into words and a reason."""
    if isinstance(error, av.error.ExitError):
        return "opening took too long", "timeout"
    if _lacks_index(source):
        return f"{error.strerror}: no index, was the file cut off?", "truncated"
    return str(error.strerror), "corrupt"


def _lacks_index(source: VideoSource) -> bool:
    """Tell whether a file is an MP4 whose boxes end before the whole of its index has come."""
    size = source.num_bytes
    content = source.content
    with Path(source.name).open("rb") if content is None else io.BytesIO(content) as file:
        at = 0
        while at < size:
            file.seek(at)
            length, name = _BOX.unpack(file.read(_BOX.size).ljust(_BOX.size, b"\0"))
            if not at and name not in _FIRST_BOXES:
                return False
            if length == 1:  # then the length follows in eight bytes
                length = int.from_bytes(file.read(8), "big")
            if name == b"moov" and at + length <= size:
                return False
            if length < _BOX.size:  # to the end of the file, or damaged
                return True
            at += length
    return True
