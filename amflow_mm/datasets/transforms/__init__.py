"""Steps of a pipeline that MMAction2 lacks."""

from amflow_mm.datasets.transforms.cached_clip import CachedClip
from amflow_mm.datasets.transforms.clip_geometry import PlanFlip, PlanResize, PlanThreeCrop
from amflow_mm.datasets.transforms.decode import VideoDecode, VideoInit

__all__ = [
    "CachedClip",
    "PlanFlip",
    "PlanResize",
    "PlanThreeCrop",
    "VideoDecode",
    "VideoInit",
]
