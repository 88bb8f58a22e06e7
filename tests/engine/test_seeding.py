"""Randomness depends on seed and place alone."""

import itertools
import pickle
import random

import cv2
import numpy as np
import pytest
import torch
from mmaction.structures import ActionDataSample
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import Dataset

from amflow_mm.engine.seeding import (
    OneThread,
    SampleKey,
    SampleKeySampler,
    build_seeded_dataloader,
    isolated_randomness,
    mix_seed,
    seed_generators,
)
from amflow_mm.registry import DATASETS


@DATASETS.register_module()
class DrawingDataset(Dataset):
    """Samples are (index, a draw from each generator)."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int):
        if index >= self.size:
            raise IndexError(index)
        return index, random.random(), np.random.rand(), torch.rand(()).item()


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


def make_loader_config(*, num_workers=0, batch_size=2, size=7):
    return {
        "batch_size": batch_size,
        "num_workers": num_workers,
        "dataset": {"type": "DrawingDataset", "size": size},
        "sampler": {"type": "DefaultSampler", "shuffle": True},
    }


def build_loader(*, seed=3, epoch=0, **options):
    loader = build_seeded_dataloader(make_loader_config(**options), seed, diff_rank_seed=False)
    loader.sampler.set_epoch(epoch)
    return loader


def draw(**options):
    return {
        sample[0]: sample
        for batch in build_loader(**options)
        for sample in zip(*batch, strict=True)
    }


def test_mixed_seeds_differ_for_near_inputs():
    seeds = {
        mix_seed(seed, epoch, index)
        for seed in range(5)
        for epoch in range(7)
        for index in range(11)
    }
    assert len(seeds) == 5 * 7 * 11
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_isolated_randomness_puts_every_generator_back():
    seed_generators(1)
    expected = random.random(), np.random.rand(), torch.rand(()).item()
    seed_generators(1)
    with isolated_randomness(2):
        inside = random.random(), np.random.rand(), torch.rand(()).item()
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected
    assert all(a != b for a, b in zip(inside, expected, strict=True))


def test_generators_are_put_back_after_an_error():
    seed_generators(1)
    expected = random.random()
    seed_generators(1)
    with pytest.raises(KeyError, match="x"), isolated_randomness(2):
        raise KeyError("x")
    assert random.random() == expected


def test_sample_does_not_depend_on_batch_size_or_on_what_was_drawn_before():
    expected = draw()
    torch.rand(3), np.random.rand(5)
    assert draw(batch_size=3) == expected


@pytest.mark.parametrize("num_workers", [1, 2])
def test_sample_does_not_depend_on_the_number_of_workers(num_workers):
    assert draw(num_workers=num_workers) == draw()


def test_sample_differs_between_epochs_and_seeds():
    first, second, other = draw(), draw(epoch=1), draw(seed=4)
    assert first.keys() == second.keys() == other.keys()
    for index in first:
        draws = {first[index][1:], second[index][1:], other[index][1:]}
        assert len(draws) == 3


def test_order_is_that_of_the_inner_sampler_in_each_epoch():
    plain = Runner.build_dataloader(make_loader_config(), seed=3)
    plain.sampler.set_epoch(2)
    keys = list(build_loader(epoch=2).sampler)
    assert [key.index for key in keys] == list(plain.sampler)
    assert {key.epoch for key in keys} == {2}


def test_lap_counts_rounds_of_an_endless_sampler():
    dataset = DrawingDataset(3)
    sampler = SampleKeySampler(dataset, {"type": "InfiniteSampler"}, seed=1)
    keys = [key for key, _ in zip(sampler, range(7), strict=False)]
    assert [key.lap for key in keys] == [0, 0, 0, 1, 1, 1, 2]
    assert {key.epoch for key in keys} == {0}


def test_lap_is_that_of_one_process_when_two_share_a_data_set(monkeypatch):
    dataset = DrawingDataset(5)

    def keys_of(rank, world_size):
        layout = (rank, world_size)
        monkeypatch.setattr("amflow_mm.engine.seeding.get_dist_info", lambda: layout)
        monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda: layout)
        return list(SampleKeySampler(dataset, {"type": "DefaultSampler"}, seed=1))

    alone, shared = keys_of(0, 1), keys_of(0, 2) + keys_of(1, 2)
    assert set(alone) < set(shared)
    assert len(shared) == 6  # one sample pads the second process
    assert {key.lap for key in set(shared) - set(alone)} == {1}


def test_dataset_stays_what_it_is():
    dataset = build_loader().dataset
    assert type(dataset) is DrawingDataset
    seed_generators(1)
    expected = random.random()
    seed_generators(1)
    assert dataset[2][1] == expected


def test_seeding_travels_to_workers_that_unpickle():
    dataset = build_loader().dataset
    copy = pickle.loads(pickle.dumps(dataset))
    keys = [SampleKey(0, 0, 2), SampleKey(1, 0, 2)]
    assert copy.__getitems__(keys) == dataset.__getitems__(keys)
    assert copy.__getitems__.dataset is copy


def test_part_of_a_data_set_is_seeded_too():
    whole, part = build_loader(size=6), make_loader_config(size=6) | {"num_batch_per_epoch": 2}
    part = build_seeded_dataloader(part, 3, diff_rank_seed=False)
    assert len(part.dataset) == 4
    samples = [sample for batch in part for sample in zip(*batch, strict=True)]
    assert set(samples) < {s for batch in whole for s in zip(*batch, strict=True)}


def test_sampler_that_is_an_object_is_left_alone():
    cfg = make_loader_config() | {"sampler": [3, 1, 2]}
    loader = build_seeded_dataloader(cfg, 3, diff_rank_seed=False)
    assert [index for batch in loader for index in batch[0]] == [3, 1, 2]
    assert not hasattr(loader.dataset, "__getitems__")


# ---------------------------------------------------------------- resuming, and who is who


@pytest.mark.parametrize("sampler", ["DefaultSampler", "InfiniteSampler"])
def test_samples_are_left_out_once_and_keep_their_laps(sampler):
    keys = SampleKeySampler(DrawingDataset(3), {"type": sampler}, seed=1)
    expected = list(itertools.islice(keys, 7))
    keys.skip(2)
    assert list(itertools.islice(keys, 5)) == expected[2:]
    assert list(itertools.islice(keys, 7)) == expected
    assert len(keys) == 3


def test_only_a_sampler_without_end_is_endless():
    ends = [
        SampleKeySampler(DrawingDataset(3), {"type": name}, seed=1).is_endless
        for name in ("DefaultSampler", "InfiniteSampler")
    ]
    assert ends == [False, True]


@DATASETS.register_module()
class LabelledDataset(DrawingDataset):
    """Samples as MMAction2 packs them."""

    def __getitem__(self, index: int):
        return {"inputs": torch.zeros(1), "data_samples": ActionDataSample()}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_packed_samples_tell_which_one_they_are(num_workers):
    config = make_loader_config(num_workers=num_workers)
    config["dataset"]["type"] = "LabelledDataset"
    loader = build_seeded_dataloader(config, 3, diff_rank_seed=False)
    found = [s.metainfo["sample_index"] for batch in loader for s in batch["data_samples"]]
    assert found == [key.index for key in loader.sampler]


# ---------------------------------------------------------------- threads


@DATASETS.register_module()
class ThreadDataset(DrawingDataset):
    """Samples are the numbers of threads of their process."""

    def __getitem__(self, index: int):
        return torch.get_num_threads(), cv2.getNumThreads()


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_data_workers_have_one_thread(method):
    """Also where the process that starts them has more."""
    config = make_loader_config(num_workers=1)
    config["dataset"]["type"] = "ThreadDataset"
    config["multiprocessing_context"] = method
    threads = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(3), torch.set_num_threads(2)
    try:
        loader = build_seeded_dataloader(config, 3, diff_rank_seed=False)
        found = {pair for batch in loader for pair in zip(*batch, strict=True)}
        assert (torch.get_num_threads(), cv2.getNumThreads()) == (2, 3)
    finally:
        cv2.setNumThreads(threads[0]), torch.set_num_threads(threads[1])
    assert found == {(1, 1)}


def test_worker_is_prepared_by_the_run_as_before():
    numbers = []
    OneThread(numbers.append)(5)
    OneThread(None)(6)
    assert numbers == [5]
