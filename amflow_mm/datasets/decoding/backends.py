"""The backends by name."""

import importlib.util
from typing import Literal

from amflow_mm.datasets.decoding.errors import unreadable
from amflow_mm.datasets.decoding.isolated_reader import IsolatedReader
from amflow_mm.datasets.decoding.pyav_reader import PyAVReader
from amflow_mm.datasets.decoding.reader import VideoReader
from amflow_mm.datasets.decoding.source import VideoSource

BackendName = Literal["auto", "pyav", "torchcodec", "opencv", "decord"]

PACKAGES = {"pyav": "av", "torchcodec": "torchcodec", "opencv": "cv2", "decord": "decord"}
"""Backends in the order in which ``auto`` tries them, and the packages they need."""


def is_installed(backend: str) -> bool:
    """Tell whether the package of a backend is there; it may still fail to load."""
    return importlib.util.find_spec(PACKAGES[backend]) is not None


def open_with(
    backend: str, source: VideoSource, *, num_threads: int, timeout: float
) -> VideoReader:
    """Open a video with one backend.

    Raises:
        UnreadableVideoError: The backend cannot read it, or is not installed.
    """
    if backend == "pyav":
        return PyAVReader(source, num_threads=num_threads, timeout=timeout)
    if not is_installed(backend):
        raise unreadable(
            source.name,
            "no_backend",
            f"backend={backend!r} needs the package {PACKAGES[backend]}, which is not installed",
        )
    return IsolatedReader(source, backend=backend, num_threads=num_threads, timeout=timeout)
