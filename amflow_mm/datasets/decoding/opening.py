"""Opening a video, a folder of images or a URL."""

import os
from pathlib import Path
from typing import get_args

from amflow_mm.datasets.decoding.auto_reader import AutoReader
from amflow_mm.datasets.decoding.backends import BackendName, open_with
from amflow_mm.datasets.decoding.folder_reader import FolderReader
from amflow_mm.datasets.decoding.reader import VideoReader
from amflow_mm.datasets.decoding.source import VideoSource, make_source
from amflow_mm.datasets.storage import is_remote, local_path


def open_video(
    source: str | os.PathLike[str] | VideoSource,
    *,
    backend: BackendName = "auto",
    num_threads: int = 1,
    timeout: float = 60.0,
) -> VideoReader:
    """Open a video whose frames can be read by number.

    Frame i is the i-th that is shown, in every backend.

    Args:
        source: Path or URL of a video, or path of a folder of images, which needs no backend.
        backend: Decoder; ``auto`` is PyAV, and for a file that it cannot read the next of
            TorchCodec, OpenCV and Decord that is installed and can.
        num_threads: Of the decoder; several data workers need no more than one each.
        timeout: Seconds that may be spent on this video, in all calls together.

    Raises:
        UnreadableVideoError: It cannot be read; ``reason`` tells why.
    """
    check_options(backend, num_threads, timeout)
    if not isinstance(source, VideoSource):
        if not is_remote(source) and Path(local_path(source)).is_dir():
            return FolderReader(local_path(source), timeout=timeout)
        source = make_source(source)
    if backend == "auto":
        return AutoReader(source, num_threads=num_threads, timeout=timeout)
    return open_with(backend, source, num_threads=num_threads, timeout=timeout)


def check_options(backend: str, num_threads: int, timeout: float) -> None:
    """Raise ValueError for options that no video can be opened with."""
    if backend not in get_args(BackendName):
        options = ", ".join(get_args(BackendName))
        raise ValueError(f"backend={backend!r} must be one of {options}")
    if not isinstance(num_threads, int) or num_threads < 1:
        raise ValueError(
            f"num_threads={num_threads!r} must be a whole number >= 1: a decoder needs a thread"
        )
    if not timeout > 0:
        raise ValueError(f"timeout={timeout!r} must be > 0: it is the seconds for one video")
