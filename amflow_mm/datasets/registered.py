"""Everything here that a config may name, MMAction2's beside it.

Not in the package's ``__init__``: MMAction2's data sets take a second to import, for which what
needs none of them, such as the generator of the motion clips, shall not wait.
"""

import mmaction.datasets  # noqa: F401  (a child registry does not import its parent's modules)

from amflow_mm.datasets.frozen_feature_dataset import FrozenFeatureDataset
from amflow_mm.datasets.packed_collate import packed_collate
from amflow_mm.datasets.shards import ShardedVideoDataset, ShardSampler
from amflow_mm.datasets.transforms import (
    CachedClip,
    PlanFlip,
    PlanResize,
    PlanThreeCrop,
    VideoDecode,
    VideoInit,
)
from amflow_mm.datasets.video_list_dataset import VideoListDataset

__all__ = [
    "CachedClip",
    "FrozenFeatureDataset",
    "PlanFlip",
    "PlanResize",
    "PlanThreeCrop",
    "ShardSampler",
    "ShardedVideoDataset",
    "VideoDecode",
    "VideoInit",
    "VideoListDataset",
    "packed_collate",
]
