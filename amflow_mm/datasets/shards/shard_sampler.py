"""ShardSampler: an order of samples in which a process reads few shards at a time."""

from collections.abc import Iterator

import numpy as np
from mmengine.dataset import DefaultSampler
from numpy.typing import NDArray
from torch.utils.data import Dataset

from amflow_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ShardSampler(DefaultSampler):
    """MMEngine's ``DefaultSampler``, but that shuffled samples come shard by shard.

    Theirs draws from all shards at once: each process reads all of them, all the time. Here the
    shards of an epoch, in random order, are laid end to end, and each process gets an equal length
    of them, hence whole shards of its own, and a part of one where two lengths meet. Within its
    length it shuffles the samples of ``window`` shards together, window after window.

    Every sample is drawn once an epoch. Where their number is no multiple of that of the processes,
    the last process repeats the fewest that make it one. The order is a function of seed, epoch
    and number of processes, so that a resumed epoch goes on where it was. With ``shuffle=False`` it
    is ``DefaultSampler``'s, which metrics undo when they gather results from all processes.

    Args:
        dataset: ``ShardedVideoDataset``.
        shuffle: Whether to shuffle.
        seed: Of the order; agreed upon among the processes by default.
        window: Shards whose samples are shuffled together, at least 1: more mix better, fewer read
            fewer shards at a time.
    """

    def __init__(
        self,
        dataset: Dataset,
        shuffle: bool = True,
        seed: int | None = None,
        *,
        window: int = 4,
    ) -> None:
        if not hasattr(dataset, "shard_of_samples"):
            raise ValueError(
                f"dataset is a {type(dataset).__name__}, but ShardSampler needs the "
                "ShardedVideoDataset itself; use DefaultSampler for others, and around it"
            )
        if window < 1:
            raise ValueError(f"window={window} must be >= 1")
        super().__init__(dataset, shuffle=shuffle, seed=seed)
        self.window = window

    def __iter__(self) -> Iterator[int]:
        """Yield the numbers of this process's samples."""
        if not self.shuffle:
            return super().__iter__()
        return iter(self._order().tolist())

    def _order(self) -> NDArray[np.integer]:
        shards = self._shuffled_shards()
        line = np.concatenate(shards)
        shard_of = np.repeat(np.arange(len(shards)), [len(shard) for shard in shards])
        # The last length runs over the end of the line into its beginning.
        own = np.arange(self.rank * self.num_samples, (self.rank + 1) * self.num_samples)
        own %= len(line)
        pieces = np.split(line[own], np.flatnonzero(np.diff(shard_of[own])) + 1)
        rng = self._generator(1 + self.rank)
        windows = [
            rng.permutation(np.concatenate(pieces[start : start + self.window]))
            for start in range(0, len(pieces), self.window)
        ]
        return np.concatenate(windows)

    def _shuffled_shards(self) -> list[NDArray[np.integer]]:
        """Return the samples of each shard, all in random order, the same in all processes."""
        rng = self._generator(0)
        shard_of = self.dataset.shard_of_samples
        by_shard = np.argsort(shard_of, kind="stable")
        shards = np.split(by_shard, np.flatnonzero(np.diff(shard_of[by_shard])) + 1)
        return [rng.permutation(shards[number]) for number in rng.permutation(len(shards))]

    def _generator(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch, stream])
