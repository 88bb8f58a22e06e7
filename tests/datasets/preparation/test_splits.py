import random
from collections import Counter, defaultdict

import pytest

from amflow_mm.datasets.preparation.splits import grouped_split, stratified_split

SHARES = {"train": 0.7, "val": 0.2, "test": 0.1}


def make_videos(seed):
    """Draw names, labels and groups of very different sizes."""
    draw = random.Random(seed)
    names = [f"v{seed}_{i}.mp4" for i in range(draw.randint(40, 300))]
    labels = [min(int(draw.expovariate(0.7)), 5) for _ in names]
    groups = [f"person{min(int(draw.expovariate(0.15)), 20)}" for _ in names]
    return names, labels, groups


@pytest.mark.parametrize("seed", range(20))
def test_each_class_is_divided_by_the_shares(seed):
    names, labels, _ = make_videos(seed)
    splits = stratified_split(names, labels, SHARES, seed)
    for label, total in Counter(labels).items():
        counts = Counter(s for s, own in zip(splits, labels, strict=True) if own == label)
        assert sum(counts.values()) == total
        for name, share in SHARES.items():
            # A split of a small class gets one video where its share alone would give it none.
            assert abs(counts[name] - share * total) <= 1.5
        if total >= len(SHARES):
            assert all(counts[name] for name in SHARES)


@pytest.mark.parametrize(("count", "expected"), [(1, "train"), (2, "train val")])
def test_small_classes_fill_the_first_splits_first(count, expected):
    splits = stratified_split([f"{i}" for i in range(count)], [0] * count, SHARES, 0)
    assert sorted(splits) == expected.split()


@pytest.mark.parametrize("seed", range(20))
def test_no_group_is_in_two_splits_and_none_is_empty(seed):
    names, labels, groups = make_videos(seed)
    splits = grouped_split(names, labels, groups, SHARES, seed=seed)
    homes = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        homes[group].add(split)
    assert all(len(home) == 1 for home in homes.values())
    assert set(splits) == set(SHARES)


def test_groups_of_equal_size_meet_the_shares():
    groups = [f"g{i // 5}" for i in range(1000)]
    labels = [i % 5 for i in range(1000)]
    names = [f"{i}" for i in range(1000)]
    counts = Counter(grouped_split(names, labels, groups, SHARES, seed=3))
    assert counts == {"train": 700, "val": 200, "test": 100}


def test_a_giant_group_goes_to_training():
    groups = ["giant"] * 60 + [f"g{i // 2}" for i in range(40)]
    for seed in range(10):
        splits = grouped_split(groups, [0] * 100, groups, SHARES, seed=seed)
        assert splits[0] == "train"


@pytest.mark.parametrize("kind", ["stratified", "grouped"])
def test_seed_alone_decides(kind):
    names, labels, groups = make_videos(1)

    def split(order, seed):
        own = [[values[i] for i in order] for values in (names, labels, groups)]
        if kind == "stratified":
            result = stratified_split(own[0], own[1], SHARES, seed)
        else:
            result = grouped_split(*own, SHARES, seed=seed)
        return dict(zip(own[0], result, strict=True))

    order = list(range(len(names)))
    first = split(order, 5)
    assert split(order, 5) == first
    assert split(order[::-1], 5) == first
    assert split(order, 6) != first


def test_a_new_video_moves_few_others():
    names, labels, _ = make_videos(2)
    before = dict(zip(names, stratified_split(names, labels, SHARES, 0), strict=True))
    after = stratified_split(["new.mp4", *names], [labels[0], *labels], SHARES, 0)
    moved = sum(before[name] != split for name, split in zip(names, after[1:], strict=True))
    assert moved <= len(SHARES)


def test_too_few_groups():
    with pytest.raises(ValueError, match=r"2 groups \(a, b\) of 3 videos cannot fill 3 splits"):
        grouped_split(["1", "2", "3"], [0, 0, 0], ["a", "b", "a"], SHARES, seed=0)


@pytest.mark.parametrize("shares", [{"train": 0.5, "val": 0.4}, {"train": 1.2, "val": -0.2}])
def test_shares_must_add_up(shares):
    with pytest.raises(ValueError, match="must be positive and add up to 1"):
        stratified_split(["a"], [0], shares, 0)
