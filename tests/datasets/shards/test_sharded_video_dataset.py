"""ShardedVideoDataset: the samples of the list, from any storage and in any worker."""

import gc
import pickle

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import PackActionInputs, UniformSample
from torch.utils.data import DataLoader

from amflow_mm.datasets import remote_files, storage
from amflow_mm.datasets.decoding.errors import UnreadableVideoError
from amflow_mm.datasets.decoding.opening import open_video
from amflow_mm.datasets.shards import ShardedVideoDataset, ShardError, make_shards, plan_shards
from amflow_mm.datasets.shards.member import ShardMember
from amflow_mm.datasets.skip_ledger import SKIPPED
from amflow_mm.datasets.transforms.decode import VideoDecode, VideoInit
from amflow_mm.datasets.video_list_dataset import VideoListDataset
from amflow_mm.datasets.video_writer import write_video
from amflow_mm.registry import DATASETS
from tests.datasets.range_server import serving
from tests.datasets.shards.small_shards import ReadBytes, in_memory, make_small_shards

COUNT = 23


@pytest.fixture(autouse=True)
def no_delays(monkeypatch):
    monkeypatch.setattr(remote_files, "RETRY_DELAYS", (0.0, 0.0))


def listed(folder):
    lines = (folder / "list.txt").read_text().splitlines()
    return [(path, int(label)) for path, label in (line.rsplit(" ", 1) for line in lines)]


def assert_all(dataset, folder, samples=None):
    expected = listed(folder)
    assert len(dataset) == len(expected)
    samples = [dataset[index] for index in range(len(dataset))] if samples is None else samples
    for index, (sample, (path, label)) in enumerate(zip(samples, expected, strict=True)):
        assert sample["data"] == (folder / "videos" / path).read_bytes()
        assert sample["label"] == label
        assert sample["sample_idx"] == index
        assert ShardMember.parse(sample["filename"]).name == path


@pytest.fixture
def index(tmp_path):
    make_small_shards(tmp_path, COUNT, str(tmp_path / "shards"))
    return str(tmp_path / "shards" / "index.json")


@pytest.mark.parametrize("kind", ["path", "file", "memory"])
def test_samples_are_those_of_the_list(tmp_path, kind):
    out = {"path": f"{tmp_path}/s", "file": f"file://{tmp_path}/s", "memory": in_memory()}[kind]
    make_small_shards(tmp_path, COUNT, out)
    dataset = ShardedVideoDataset(f"{out}/index.json", [ReadBytes()], num_classes=5)
    assert_all(dataset, tmp_path)


def test_a_web_server_sends_the_videos_alone(tmp_path, index):
    pytest.importorskip("aiohttp")
    with serving(tmp_path / "shards") as server:
        dataset = ShardedVideoDataset(f"{server.url}/index.json", [ReadBytes()])
        server.ranges.clear()
        assert_all(dataset, tmp_path)
        assert len(server.ranges) == COUNT
        assert all(server.ranges)
        server.faults = [503]
        assert dataset[3]["label"] == 3


def test_a_cache_takes_whole_shards(tmp_path, index):
    pytest.importorskip("aiohttp")
    with serving(tmp_path / "shards") as server:
        cache = tmp_path / "cache"
        url = f"{server.url}/index.json"
        dataset = ShardedVideoDataset(url, [ReadBytes()], cache_dir=str(cache))
        server.ranges.clear()
        assert not cache.exists()
        assert_all(dataset, tmp_path)
        num_shards = len(list((tmp_path / "shards").glob("*.tar")))
        assert len(server.ranges) == len(list(cache.glob("*.tar"))) == num_shards
        assert_all(dataset, tmp_path)
        assert len(server.ranges) == num_shards


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "is_cached"), [("fork", False), ("fork", True), ("spawn", True)]
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_workers_read_the_same(tmp_path, index, method, is_cached):
    cache = str(tmp_path / "cache") if is_cached else None
    dataset = ShardedVideoDataset(f"file://{index}", [ReadBytes()], cache_dir=cache)
    loader = DataLoader(dataset, 4, collate_fn=list, num_workers=2, multiprocessing_context=method)
    samples = [sample for batch in loader for sample in batch]
    del loader
    gc.collect()  # its pipes
    assert_all(dataset, tmp_path, samples)


def test_a_pickle_reads_on(tmp_path, index):
    dataset = pickle.loads(pickle.dumps(ShardedVideoDataset(index, [ReadBytes()])))
    assert_all(dataset, tmp_path)
    assert dataset.shard_of_samples.tolist() == sorted(dataset.shard_of_samples)


def test_nothing_is_read_before_the_pipeline_does(index, monkeypatch):
    dataset = ShardedVideoDataset(index, [ReadBytes()])
    monkeypatch.setattr(storage, "read_range", None)
    assert dataset.get_data_info(5)["label"] == 0


def test_parts_of_a_data_set(tmp_path, index):
    dataset = ShardedVideoDataset(index, [ReadBytes()])
    part = dataset.get_subset([20, 3])
    assert [part[0]["label"], part[1]["label"]] == [0, 3]
    assert part.shard_of_samples.tolist() == dataset.shard_of_samples[[20, 3]].tolist()
    dataset.get_subset_(7)
    assert len(dataset.shard_of_samples) == len(dataset) == 7
    dataset.get_subset_(-2)
    assert [dataset[index]["label"] for index in range(2)] == [0, 1]


def test_several_labels(tmp_path):
    (tmp_path / "list.txt").write_text("a.mp4 3 1\n")
    (tmp_path / "a.mp4").write_bytes(b"video")
    out = str(tmp_path / "shards")
    plan = plan_shards(
        str(tmp_path / "list.txt"), videos=str(tmp_path), shard_bytes=9999, is_multi_class=True
    )
    make_shards(plan, out)
    dataset = ShardedVideoDataset(
        f"{out}/index.json", [ReadBytes()], multi_class=True, num_classes=5
    )
    assert dataset[0]["label"].tolist() == [0, 1, 0, 1, 0]
    with pytest.raises(ShardError, match=r"a\.mp4 has \(3, 1\).*multi_class=False"):
        ShardedVideoDataset(f"{out}/index.json", [ReadBytes()])


def test_frames_are_those_of_the_files(tmp_path):
    """From shards, and from a list and files behind URLs."""
    store = in_memory()
    steps = [
        {"type": VideoInit},
        {"type": UniformSample, "clip_len": 4, "test_mode": True},
        {"type": VideoDecode},
    ]
    lines = []
    for number, name in enumerate(("a.mp4", "b c.mp4")):
        frames = np.random.default_rng(number).integers(0, 256, (5, 32, 48, 3), np.uint8)
        write_video(tmp_path / name, frames, 8)
        storage.upload(tmp_path / name, f"{store}/videos/{name}")
        lines.append(f"{name} {number}\n")
    storage.write_bytes(f"{store}/list.txt", "".join(lines).encode())
    plan = plan_shards(f"{store}/list.txt", videos=f"{store}/videos", shard_bytes=10**6)
    make_shards(plan, f"{store}/shards")
    sharded = ShardedVideoDataset(f"{store}/shards/index.json", steps)
    remote = VideoListDataset(f"{store}/list.txt", steps, data_prefix={"video": f"{store}/videos"})
    for number, name in enumerate(("a.mp4", "b c.mp4")):
        with open_video(tmp_path / name) as video:
            expected = video.read(sharded[number]["frame_inds"])
        assert expected.shape == (4, 32, 48, 3)
        assert np.array_equal(sharded[number]["imgs"], expected)
        assert np.array_equal(remote[number]["imgs"], expected)
        assert sharded[number]["label"] == remote[number]["label"] == number


def test_labels_outside_the_classes_raise(index):
    with pytest.raises(ShardError, match=r"label 3 of class 3/003\.mp4 .* num_classes is 3"):
        ShardedVideoDataset(index, [], num_classes=3)


def test_a_missing_shard_raises_at_once(tmp_path, index):
    (tmp_path / "shards" / "shard-000001.tar").unlink()
    with pytest.raises(ShardError, match=r"shard-000001\.tar does not exist"):
        ShardedVideoDataset(index, [])


def flip_sample(folder, dataset, number):
    member = ShardMember.parse(dataset.get_data_info(number)["filename"])
    with open(member.shard, "r+b") as file:
        file.seek(member.offset)
        byte = file.read(1)[0]
        file.seek(member.offset)
        file.write(bytes([byte ^ 1]))
    return member


def test_a_rotten_video_raises(tmp_path, index):
    dataset = ShardedVideoDataset(index, [ReadBytes()])
    flip_sample(tmp_path, dataset, 7)
    with pytest.raises(UnreadableVideoError, match=r"class 2/007\.avi in .*shard-0.*checksum"):
        dataset[7]
    assert dataset[6]["label"] == 1


def test_a_rotten_video_is_skipped(tmp_path, index):
    pipeline = [
        ReadBytes(),
        lambda results: {**results, "imgs": torch.tensor([len(results["data"])])},
        {"type": PackActionInputs},
    ]
    dataset = ShardedVideoDataset(index, pipeline, on_error="skip")
    flip_sample(tmp_path, dataset, 7)
    sample = dataset[7]
    skipped = sample["data_samples"].metainfo[SKIPPED]
    assert len(skipped) == 1
    ((address, reason),) = skipped.items()
    assert address.endswith("class%202/007.avi")
    assert "checksum" in reason
    assert int(sample["data_samples"].gt_label) == 2
    assert SKIPPED not in dataset[6]["data_samples"].metainfo


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cache_dir": "s3://bucket/cache"}, r"cache_dir='s3://bucket/cache' must be a folder on"),
        ({"cache_dir": "cache", "cache_gigabytes": 0}, r"cache_gigabytes=0 must be > 0"),
        ({"on_error": "ignore"}, r"on_error='ignore' must be"),
    ],
)
def test_wrong_arguments_raise(index, options, message):
    with pytest.raises(ValueError, match=message):
        ShardedVideoDataset(index, [], **options)


def test_it_is_registered():
    assert DATASETS.module_dict["ShardedVideoDataset"] is ShardedVideoDataset
