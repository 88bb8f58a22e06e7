"""Randomness as a function of the seed and the place in training, not of what ran before.

MMEngine saves no state of the random generators, so a resumed run draws other numbers than an
uninterrupted one; and it seeds its data workers alike in every epoch, so that without persistent
workers each epoch sees the same "random" crops. Both follow from letting generators run on. Here

- an iteration is seeded from (seed, iteration, rank): ``IterationSeedHook``;
- a sample is seeded from (seed, epoch, lap, index): ``SampleKeySampler`` and ``SeededFetch``.

A resumed run therefore repeats the uninterrupted one, with any number of data workers, and the
augmentation of a sample does not depend on the number of processes.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import DataLoader, Dataset, Sampler

from amflow_mm.datasets.randomness import isolated_randomness, seed_generators
from amflow_mm.registry import DATA_SAMPLERS, HOOKS


def mix_seed(*parts: int) -> int:
    """Mix non-negative numbers into one seed of 63 bits, so that near inputs give far seeds."""
    low, high = np.random.SeedSequence(parts).generate_state(2)
    return (int(high) << 31) ^ int(low)


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Seed every training iteration, so that dropout does not depend on the past."""

    priority = "VERY_HIGH"

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed all generators, those of the GPU included, before the forward pass."""
        del batch_idx, data_batch
        seed = mix_seed(runner.seed, runner.iter, runner.rank)
        seed_generators(seed)
        torch.manual_seed(seed)


class SampleKey(NamedTuple):
    """What decides the randomness of a sample beside the seed."""

    epoch: int
    lap: int
    """How often the sampler has gone through the data set since the epoch began."""
    index: int


@DATA_SAMPLERS.register_module()
class SampleKeySampler(Sampler[SampleKey]):
    """Yield the indices of another sampler as sample keys.

    Args:
        dataset: Data set that is sampled.
        sampler: Config of the sampler that gives the order.
        seed: Seed of that order.
    """

    def __init__(self, dataset: Dataset, sampler: dict, *, seed: int | None = None) -> None:
        self._dataset, self._config = dataset, sampler
        self.sampler = self._build(seed)
        self.epoch = 0
        self._num_skipped = 0
        self._rank, self._world_size = get_dist_info()

    @property
    def is_endless(self) -> bool:
        """Whether one epoch goes on for ever."""
        return isinstance(self.sampler, InfiniteSampler)

    def skip(self, num_samples: int) -> None:
        """Leave out the first samples of this rank the next time that the epoch is gone through."""
        self._num_skipped = num_samples

    def __iter__(self) -> Iterator[SampleKey]:
        """Yield keys; the lap counts the draws of all ranks, so it is one in every layout."""
        num_skipped, self._num_skipped = self._num_skipped, 0
        # MMEngine's endless sampler goes on where its last reader stopped reading ahead.
        sampler = self._build(self.sampler.seed) if self.is_endless else self.sampler
        return self._keys(sampler, num_skipped)

    def _keys(self, sampler: Sampler[int], num_skipped: int) -> Iterator[SampleKey]:
        for position, index in itertools.islice(enumerate(sampler), num_skipped, None):
            drawn = position * self._world_size + self._rank
            yield SampleKey(self.epoch, drawn // len(self._dataset), index)

    def _build(self, seed: int | None) -> Sampler[int]:
        default_args = {"dataset": self._dataset, "seed": seed}
        return DATA_SAMPLERS.build(self._config, default_args=default_args)

    def __len__(self) -> int:
        """Samples that this rank draws."""
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        """Move to another epoch, with another order where the sampler shuffles."""
        self.epoch = epoch
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)


class SeededFetch:
    """Fetch samples by key, each under its own seed.

    Made for ``dataset.__getitems__``, by which torch's loader fetches the samples of a batch.
    The data set itself stays what it is, for hooks that ask for its type or take single samples.

    Args:
        dataset: Data set that is fetched from.
        seed: Seed of the run.
    """

    def __init__(self, dataset: Dataset, *, seed: int) -> None:
        self.dataset = dataset
        self.seed = seed

    def __call__(self, keys: list[SampleKey]) -> list[Any]:
        """Load the samples of a batch."""
        samples = []
        for key in keys:
            with isolated_randomness(mix_seed(self.seed, *key)):
                sample = self.dataset[key.index]
            _mark(sample, key.index)
            samples.append(sample)
        return samples


def _mark(sample: Any, index: int) -> None:
    """Let a sample tell which one it is, for messages about the batch that it is in."""
    data_sample = sample.get("data_samples") if isinstance(sample, dict) else None
    if isinstance(data_sample, BaseDataElement):
        data_sample.set_metainfo({"sample_index": index})


def build_seeded_dataloader(dataloader: dict, seed: int, *, diff_rank_seed: bool) -> DataLoader:
    """Build a loader whose samples are seeded one by one.

    Args:
        dataloader: Config of the loader. Where its sampler is an object instead of a config, the
            caller has the randomness in its own hands.
        seed: Seed of the run.
        diff_rank_seed: See MMEngine's ``Runner.build_dataloader``.
    """
    sampler = dataloader.get("sampler")
    if not isinstance(sampler, dict):
        return Runner.build_dataloader(dataloader, seed, diff_rank_seed)
    keyed = {**dataloader, "sampler": {"type": SampleKeySampler, "sampler": sampler}}
    loader = Runner.build_dataloader(keyed, seed, diff_rank_seed)
    loader.dataset.__getitems__ = SeededFetch(loader.dataset, seed=seed)
    loader.worker_init_fn = OneThread(loader.worker_init_fn)
    return loader


class OneThread:
    """Start a data worker with one thread for OpenCV, as torch does for its own.

    MMEngine tells OpenCV in the main process alone. A forked worker inherits that, a spawned one
    would start as many threads as there are cores, each worker as many.

    Args:
        init: What the worker does at its start anyway.
    """

    def __init__(self, init: Callable[[int], None] | None) -> None:
        self.init = init

    def __call__(self, worker: int) -> None:
        """Prepare the worker of this number."""
        cv2.setNumThreads(0)
        if self.init is not None:
            self.init(worker)
