"""ShardedVideoDataset: the videos of shards, on a disk or in a store, for any pipeline."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from amflow_mm.datasets.shards.index import check_index, locate
from amflow_mm.datasets.shards.member import ShardMember
from amflow_mm.datasets.shards.shard_cache import CachedShard, ShardCache
from amflow_mm.datasets.storage import is_remote
from amflow_mm.datasets.video_list_dataset import VideoListDataset
from amflow_mm.registry import DATASETS


@DATASETS.register_module()
class ShardedVideoDataset(VideoListDataset):
    """Videos of tar files, each read as a part of its shard; see docs/shards.md.

    A sample's ``filename`` is the address of a video in a shard, which ``VideoInit`` reads; the
    videos have the order of the shards. Policy for broken ones: see ``VideoListDataset``.

    Args:
        index: Path or URL of ``index.json``; the shards stand beside it.
        pipeline: Transforms; ``VideoInit`` opens the videos.
        cache_dir: Folder on this machine that takes whole shards, once for all processes; None
            reads a part of the shard for each sample, wherever it stands.
        cache_gigabytes: Limit of that folder, in 1e9 bytes.
        num_classes: Bound of the labels.
        multi_class: Whether a video may have several labels; needs ``num_classes``.
        start_index: Number of the first frame.
        modality: What the frames show, for transforms that ask.
        test_mode: Whether samples are for validation or test.
        metainfo: Facts about the data set, such as its ``classes``.
        on_error: Whether a video that cannot be read ends the run or is skipped.
        max_skip_fraction: Share of the videos above which skipped samples stop the run.
    """

    def __init__(
        self,
        index: str,
        pipeline: Sequence[dict | Callable],
        *,
        cache_dir: str | None = None,
        cache_gigabytes: float = 100.0,
        num_classes: int | None = None,
        multi_class: bool = False,
        start_index: int = 0,
        modality: str = "RGB",
        test_mode: bool = False,
        metainfo: dict[str, Any] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        max_skip_fraction: float = 0.05,
    ) -> None:
        if cache_dir is not None and is_remote(cache_dir):
            raise ValueError(
                f"cache_dir={cache_dir!r} must be a folder on a disk of this machine: it is there "
                "to spare the network"
            )
        if not cache_gigabytes > 0:
            raise ValueError(f"cache_gigabytes={cache_gigabytes} must be > 0")
        self._cache = None
        if cache_dir is not None:
            self._cache = ShardCache(cache_dir, int(cache_gigabytes * 1e9))
        self._shards: list[CachedShard] = []
        super().__init__(
            index,
            pipeline,
            num_classes=num_classes,
            multi_class=multi_class,
            start_index=start_index,
            modality=modality,
            test_mode=test_mode,
            metainfo=metainfo,
            on_error=on_error,
            max_skip_fraction=max_skip_fraction,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the index and look whether the shards are there.

        Raises:
            StorageError, ShardError: See ``check_index``.
        """
        index = check_index(
            self.ann_file, num_classes=self.num_classes, is_multi_class=self.multi_class
        )
        self._shards = [
            CachedShard(self._cache, locate(self.ann_file, shard), shard.num_bytes, shard.sha256)
            for shard in index.shards
        ]
        clips = [
            {
                "label": list(sample.label) if self.multi_class else sample.label,
                "shard": number,
                "part": (sample.offset, sample.size, sample.crc32, sample.path),
            }
            for number, shard in enumerate(index.shards)
            for sample in shard.samples
        ]
        self._labels = np.array([c["label"][0] if self.multi_class else c["label"] for c in clips])
        self._shard_of = np.array([clip["shard"] for clip in clips])
        return clips

    @property
    def shard_of_samples(self) -> NDArray[np.integer]:
        """Number of each sample's shard; what ``ShardSampler`` goes by."""
        return self._shard_of

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return label and address of a sample."""
        info = super().get_data_info(idx)
        shard = self._shards[info.pop("shard")]
        cached = None if self._cache is None else shard
        info["filename"] = str(ShardMember(shard.source, *info.pop("part"), cached))
        return info

    def _take(self, indices: int | Sequence[int]) -> None:
        """Keep what is known of a part of the samples."""
        numbers = range(len(self._shard_of))
        if isinstance(indices, int):
            indices = numbers[slice(indices) if indices >= 0 else slice(indices, None)]
        self._shard_of = self._shard_of[list(indices)]
        super()._take(indices)
