"""A video dataset that later serves features: what identifies them, what is drawn, what is read."""

import os
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from torch.utils.data import DataLoader

from amflow_mm.datasets import FrozenFeatureDataset
from amflow_mm.datasets.skip_ledger import SKIPPED
from tests.datasets import broken_videos
from tests.datasets.array_videos import FLIP, dataset_of, write_videos

NUM = 6


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


@pytest.fixture
def list_file(tmp_path):
    return write_videos(tmp_path / "videos", NUM)


@pytest.fixture
def make(list_file, tmp_path):
    def build(*steps, num_draws=1, **options):
        config = dataset_of(list_file, *steps, **options)
        return FrozenFeatureDataset(config, cache_dir=str(tmp_path / "cache"), num_draws=num_draws)

    return build


def fill(dataset, kind="tokens"):
    """Keep the mean of each draw in place of the frozen model's features."""
    store = dataset.store(kind, "model")
    for row in range(dataset.num_rows):
        sample = dataset.draw(row)
        clip = sample["inputs"].float().numpy()
        facts = dataset.annotation(sample)
        store.write({row: {kind: clip.mean(axis=(2, 3, 4)), **facts}})
    return store


def test_before_features_are_attached_it_is_the_video_dataset(make):
    dataset = make()
    assert not dataset.is_attached
    assert len(dataset) == len(dataset.videos) == NUM
    assert torch.equal(dataset[3]["inputs"], dataset.videos[3]["inputs"])
    assert dataset[3]["inputs"].shape == (1, 3, 4, 14, 21)
    assert dataset.get_data_info(3)["label"] == 1
    assert dataset.metainfo == dataset.videos.metainfo


# ---------------------------------------------------------------- what identifies the features


def test_the_same_data_have_the_same_fingerprint(make):
    assert make(FLIP).fingerprint() == make(FLIP).fingerprint()
    assert make().store("tokens", "a").folder == make().store("tokens", "a").folder


def test_keys_and_kinds_have_stores_of_their_own(make):
    dataset = make()
    folders = [
        dataset.store(kind, *keys).folder
        for kind, keys in (
            ("tokens", ("a",)),
            ("tokens", ("b",)),
            ("flow", ("a",)),
            ("tokens", ("a", "b")),
            ("tokens", ("ab",)),
        )
    ]
    assert len(set(folders)) == len(folders)
    assert {folder.parent for folder in folders} == {dataset.cache_dir}


def _rewrite(path):
    np.save(path, np.load(path)[::-1])


def _touch(path):
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))


@pytest.mark.parametrize("change", [_rewrite, _touch, os.remove])
def test_another_file_has_another_fingerprint(make, list_file, change):
    before = make().fingerprint()
    change(list_file.parent / "train_4.npy")
    assert make().fingerprint() != before


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: [lines[0].replace(" 0", " 1"), *lines[1:]],  # another label
        lambda lines: lines[:-1],
        lambda lines: lines[::-1],
    ],
)
def test_another_list_has_another_fingerprint(make, list_file, edit):
    before = make().fingerprint()
    lines = list_file.read_text().splitlines(keepends=True)
    list_file.write_text("".join(edit(lines)))
    assert make().fingerprint() != before


def test_other_pipelines_have_other_fingerprints(make):
    datasets = [
        make(),
        make(FLIP),
        make({**FLIP, "flip_ratio": 0.4}),
        make({**FLIP, "flip_label_map": {0: 1}}),
        make(num_clips=2),
        make(num_draws=2),
        make(test_mode=True),
    ]
    assert len({dataset.fingerprint() for dataset in datasets}) == len(datasets)


# ---------------------------------------------------------------- draws


def test_a_draw_depends_on_its_row_alone(make):
    dataset = make(FLIP, num_draws=8)
    assert dataset.num_rows == NUM * 8
    first = [dataset.draw(row)["inputs"] for row in range(dataset.num_rows)]
    torch.manual_seed(99)
    np.random.seed(99)
    random.seed(99)
    again = [dataset.draw(row)["inputs"] for row in reversed(range(dataset.num_rows))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    of_one_video = {tuple(clip.flatten().tolist()) for clip in first[8:16]}
    assert len(of_one_video) == 2  # as it is, and flipped


def test_drawing_leaves_the_generators_alone(make):
    dataset = make(FLIP, num_draws=2)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    dataset.draw(3)
    assert states == (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        torch.get_rng_state().tolist(),
    )


def test_a_flip_that_swaps_labels_keeps_them_right(make):
    """Label 0 is brighter on the left, also where a draw was flipped."""
    dataset = make(FLIP, num_draws=8)
    for row in range(dataset.num_rows):
        sample = dataset.draw(row)
        columns = sample["inputs"].float().mean(dim=(0, 1, 2, 3))
        is_right = columns[14:].mean() > columns[:7].mean()
        assert sample["data_samples"].gt_label.item() == int(is_right)


# ---------------------------------------------------------------- reading


def test_attached_features_take_the_place_of_clips(make):
    dataset = make()
    dataset.attach(fill(dataset))
    assert dataset.is_attached
    for index in range(NUM):
        sample = dataset[index]
        expected = dataset.videos[index]
        assert sample["inputs"].keys() == {"tokens"}
        clip = expected["inputs"].float()
        torch.testing.assert_close(sample["inputs"]["tokens"], clip.mean(dim=(2, 3, 4)))
        assert sample["data_samples"].gt_label == expected["data_samples"].gt_label
        assert sample["data_samples"].gt_label.dtype == torch.int64


def test_arrays_of_several_stores_come_together(make):
    dataset = make()
    stores = [fill(dataset, kind) for kind in ("tokens", "flow")]
    dataset.attach(*stores)
    assert dataset[0]["inputs"].keys() == {"tokens", "flow"}


def test_training_sees_every_draw_with_its_own_label(make):
    dataset = make(FLIP, num_draws=4)
    store = fill(dataset)
    dataset.attach(store)
    kept = {(row["tokens"].tobytes(), int(row["label"])) for row in map(store.read, range(4, 8))}
    seen = set()
    for _ in range(100):
        sample = dataset[1]
        seen.add(
            (sample["inputs"]["tokens"].numpy().tobytes(), sample["data_samples"].gt_label.item())
        )
    assert seen == kept


def test_an_incomplete_store_cannot_be_attached(make):
    dataset = make()
    store = dataset.store("tokens", "model")
    store.write({0: {"tokens": np.zeros(2, np.float32), "label": np.array(0)}})
    with pytest.raises(ValueError, match=rf"{store.folder} lacks 5 rows"):
        dataset.attach(store)
    assert not dataset.is_attached


@pytest.mark.slow
def test_spawned_workers_read_the_same(make):
    dataset = make(FLIP, num_draws=1)
    dataset.attach(fill(dataset))
    assert dataset[0]["inputs"]["tokens"].any()  # this process has its maps open
    loader = DataLoader(
        dataset,
        batch_size=4,
        num_workers=2,
        multiprocessing_context="spawn",
        collate_fn=pseudo_collate,
    )
    batches = list(loader)
    tokens = [value for batch in batches for value in batch["inputs"]["tokens"]]
    labels = [sample.gt_label for batch in batches for sample in batch["data_samples"]]
    for index in range(NUM):
        assert torch.equal(tokens[index], dataset[index]["inputs"]["tokens"])
        assert torch.equal(labels[index], dataset[index]["data_samples"].gt_label)


@pytest.mark.parametrize("num_draws", [0, -1])
def test_no_draw_raises(make, num_draws):
    with pytest.raises(ValueError, match=f"num_draws={num_draws} must be >= 1"):
        make(num_draws=num_draws)


def test_what_stood_in_for_a_broken_video_is_told_ever_after(tmp_path):
    broken_videos.write_list(tmp_path, {"a.mp4": 0, "bad.mp4": 0, "b.mp4": 1})
    videos = broken_videos.dataset_config(tmp_path, on_error="skip")
    dataset = FrozenFeatureDataset(videos, cache_dir=str(tmp_path / "cache"))
    dataset.attach(fill(dataset))
    samples = [dataset[index] for index in range(3)]
    told = [sample["data_samples"].metainfo.get(SKIPPED) for sample in samples]
    assert told[0] is told[2] is None
    assert list(told[1]) == [str(tmp_path / "bad.mp4")]
    assert torch.equal(samples[1]["inputs"]["tokens"], samples[0]["inputs"]["tokens"])
