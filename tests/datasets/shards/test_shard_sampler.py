"""The order of samples: all of them once, few shards at a time, the same after a resume."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.dataset import DefaultSampler
from torch.utils.data import DataLoader

from amflow_mm.datasets.shards import ShardSampler
from amflow_mm.engine.seeding import SampleKeySampler
from amflow_mm.registry import DATA_SAMPLERS
from tests.datasets.shards.small_shards import make_small_shards

SIZES = (7, 11, 5, 1, 13, 3, 8, 9, 6, 10)
COUNT = sum(SIZES)


class FakeShards:
    """A data set of shards of some sizes."""

    def __init__(self, sizes=SIZES):
        self.shard_of_samples = np.repeat(np.arange(len(sizes)), sizes)

    def __len__(self):
        return len(self.shard_of_samples)

    def __getitem__(self, index):
        return index


def orders(num_ranks, *, sizes=SIZES, seed=3, epoch=0, **options):
    """Return the order of each rank."""
    found = []
    for rank in range(num_ranks):
        sampler = ShardSampler(FakeShards(sizes), seed=seed, **options)
        sampler.rank, sampler.world_size = rank, num_ranks
        sampler.num_samples = -(-sum(sizes) // num_ranks)
        sampler.total_size = sampler.num_samples * num_ranks
        sampler.set_epoch(epoch)
        found.append(list(sampler))
        assert len(found[-1]) == len(sampler)
    return found


def flat(orders):
    return list(itertools.chain(*orders))


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("window", [1, 4, 100])
def test_every_sample_is_drawn_once(num_ranks, window):
    found = orders(num_ranks, window=window)
    drawn = flat(found)
    num_repeated = -COUNT % num_ranks
    assert len(drawn) == COUNT + num_repeated
    assert set(drawn) == set(range(COUNT))
    assert len({len(order) for order in found}) == 1
    # What is repeated is with the last rank.
    first_ranks = flat(found[:-1])
    assert len(set(first_ranks)) == len(first_ranks)


def test_more_processes_than_samples():
    found = orders(5, sizes=(1, 2))
    assert [len(order) for order in found] == [1] * 5
    assert set(flat(found)) == {0, 1, 2}


@pytest.mark.parametrize("num_ranks", [2, 3])
def test_ranks_share_a_shard_only_where_their_lengths_meet(num_ranks):
    shard_of = FakeShards().shard_of_samples
    touched = [set(shard_of[order]) for order in orders(num_ranks)]
    wrapped = COUNT % num_ranks > 0
    for first, second in itertools.combinations(range(num_ranks), 2):
        num_meetings = second - first == 1
        num_meetings += wrapped and (first, second) == (0, num_ranks - 1)
        assert len(touched[first] & touched[second]) <= num_meetings


@pytest.mark.parametrize("window", [1, 3])
def test_few_shards_are_read_at_a_time(window):
    shard_of = FakeShards().shard_of_samples
    (order,) = orders(1, window=window)
    visits = shard_of[order]
    for shard in range(len(SIZES)):
        positions = np.flatnonzero(visits == shard)
        span = set(visits[positions[0] : positions[-1] + 1])
        assert len(span) <= window


def test_samples_of_a_window_are_mixed():
    shard_of = FakeShards().shard_of_samples
    (order,) = orders(1, window=len(SIZES))
    changes = np.count_nonzero(np.diff(shard_of[order]))
    assert changes > COUNT / 2


def test_the_order_depends_on_seed_and_epoch_alone():
    same = orders(2)
    assert orders(2) == same
    assert orders(2, epoch=1) != same
    assert orders(2, seed=4) != same
    assert orders(2, window=2) != same


def test_shards_change_their_ranks_from_epoch_to_epoch():
    seen = {tuple(sorted(orders(2, epoch=epoch)[0])) for epoch in range(5)}
    assert len(seen) == 5


@pytest.mark.parametrize("num_ranks", [1, 3])
def test_without_shuffling_the_order_is_that_of_mmengine(num_ranks):
    """Its metrics interleave what the ranks have and cut it off at the length of the data set."""
    found = orders(num_ranks, shuffle=False)
    interleaved = [index for step in zip(*found, strict=True) for index in step]
    assert interleaved[:COUNT] == list(range(COUNT))
    if num_ranks == 1:
        assert found[0] == list(DefaultSampler(FakeShards(), shuffle=False))


def test_an_epoch_goes_on_where_it_was():
    """The loop leaves out the samples that were seen, through the sampler around this one."""
    config = {"type": ShardSampler, "window": 2}

    def loader():
        sampler = SampleKeySampler(FakeShards(), config, seed=5)
        sampler.set_epoch(2)
        return DataLoader(FakeShards(), 4, sampler=sampler, collate_fn=list)

    whole = [[key.index for key in batch] for batch in map(list, loader().batch_sampler)]
    resumed = loader()
    resumed.sampler.skip(3 * 4)
    rest = [[key.index for key in batch] for batch in map(list, resumed.batch_sampler)]
    assert rest == whole[3:]
    assert sorted(flat(whole)) == list(range(COUNT))


def test_a_data_set_without_shards_raises():
    with pytest.raises(ValueError, match=r"dataset is a list, but ShardSampler needs"):
        ShardSampler([1, 2, 3], seed=0)


def test_a_window_below_one_raises():
    with pytest.raises(ValueError, match=r"window=0 must be >= 1"):
        ShardSampler(FakeShards(), seed=0, window=0)


def test_a_part_of_a_data_set_has_gaps():
    dataset = FakeShards()
    dataset.shard_of_samples = dataset.shard_of_samples[::-3]
    assert sorted(ShardSampler(dataset, seed=0)) == list(range(len(dataset)))


def test_it_is_registered():
    assert DATA_SAMPLERS.module_dict["ShardSampler"] is ShardSampler


@pytest.mark.slow
def test_two_processes_read_everything_once(tmp_path):
    make_small_shards(tmp_path, 23, str(tmp_path / "shards"))
    root = str(Path(__file__).parents[3])
    script = str(Path(__file__).with_name("read_as_rank.py"))
    env = {**os.environ, "PYTHONPATH": root}
    ranks = [
        subprocess.Popen([sys.executable, script, str(tmp_path), str(rank)], cwd=root, env=env)
        for rank in range(2)
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    found = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert found[0]["seed"] == found[1]["seed"]
    for epoch in range(2):
        first, second = (rank["train"][epoch] for rank in found)
        assert len(first) == len(second) == 12
        assert len(set(first)) == 12
        assert sorted({*first, *second}) == list(range(23))
    assert found[0]["train"][0] != found[0]["train"][1]
    # The data came along, and the gathered results are those of the list in its order.
    assert found[0]["gathered"] == [[index, index % 5] for index in range(23)]
    assert found[0]["is_right"]
    assert found[1]["is_right"]
