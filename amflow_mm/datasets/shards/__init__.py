"""Shards: videos in a few large tar files, for storage that is slow at many small ones."""

from amflow_mm.datasets.shards.index import ShardError, ShardIndex, check_index, load_index
from amflow_mm.datasets.shards.making import make_shards
from amflow_mm.datasets.shards.plan import ShardPlan, plan_shards
from amflow_mm.datasets.shards.shard_sampler import ShardSampler
from amflow_mm.datasets.shards.sharded_video_dataset import ShardedVideoDataset

__all__ = [
    "ShardError",
    "ShardIndex",
    "ShardPlan",
    "ShardSampler",
    "ShardedVideoDataset",
    "check_index",
    "load_index",
    "make_shards",
    "plan_shards",
]
