"""What shards are going to hold, in which order."""

import hashlib
import json
from dataclasses import dataclass

import numpy as np

from amflow_mm.datasets.annotation_list import LineLayout, ListedClip, read_list
from amflow_mm.datasets.shards.index import VERSION, ShardError


@dataclass(frozen=True)
class ShardPlan:
    """What shards are made of.

    Args:
        clips: Videos in the order of the shards; their paths as they stand in the list.
        videos: Folder or URL that these are relative to.
        shard_bytes: Size that a shard does not exceed unless a single video does.
        is_multi_class: Whether a video has several labels.
    """

    clips: tuple[ListedClip, ...]
    videos: str
    shard_bytes: int
    is_multi_class: bool

    @property
    def digest(self) -> str:
        """Digest of all that decides what stands in which shard, the videos' bytes aside."""
        facts = [VERSION, self.shard_bytes, self.is_multi_class]
        rows = [[clip.path, clip.labels] for clip in self.clips]
        return hashlib.sha256(json.dumps([facts, rows]).encode()).hexdigest()

    def label(self, clip: ListedClip) -> int | tuple[int, ...]:
        """Return what is noted as the label of a video."""
        return clip.labels if self.is_multi_class else clip.labels[0]


def plan_shards(
    list_file: str,
    *,
    videos: str,
    shard_bytes: int,
    seed: int | None = None,
    delimiter: str | None = " ",
    is_multi_class: bool = False,
) -> ShardPlan:
    """Read the list and decide on the order.

    Args:
        list_file: Path or URL of the annotation list.
        videos: Folder or URL that its paths are relative to.
        shard_bytes: Size of a shard.
        seed: Of the order; None keeps that of the list.
        delimiter: What separates path and label; None for any blanks.
        is_multi_class: Whether a video may have several labels.

    Raises:
        StorageError: The list cannot be read.
        AnnotationError: A line of it cannot be used.
    """
    if shard_bytes < 1:
        raise ShardError(f"shard_bytes={shard_bytes} must be >= 1")
    layout = LineLayout(delimiter=delimiter, has_many_labels=is_multi_class, is_label_last=True)
    clips = read_list(list_file, layout)
    if seed is not None:
        order = np.random.default_rng(seed).permutation(len(clips))
        clips = [clips[position] for position in order]
    return ShardPlan(tuple(clips), videos, shard_bytes, is_multi_class)
