"""Videos as frames by number, the same in every decoder, with a reason for what cannot be read."""

from amflow_mm.datasets.decoding.auto_reader import fallback_counts
from amflow_mm.datasets.decoding.backends import BackendName
from amflow_mm.datasets.decoding.errors import Reason, UnreadableVideoError
from amflow_mm.datasets.decoding.facts import VideoFacts, probe_video
from amflow_mm.datasets.decoding.opening import open_video
from amflow_mm.datasets.decoding.reader import VideoReader

__all__ = [
    "BackendName",
    "Reason",
    "UnreadableVideoError",
    "VideoFacts",
    "VideoReader",
    "fallback_counts",
    "open_video",
    "probe_video",
]
