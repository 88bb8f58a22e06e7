"""Shards on this machine's disk: fetched once, whole or not at all, never more than allowed."""

import os
from multiprocessing import get_context
from pathlib import Path

import pytest
from filelock import FileLock

from amflow_mm.datasets import storage
from amflow_mm.datasets.remote_files import StorageError
from amflow_mm.datasets.shards import shard_cache
from amflow_mm.datasets.shards.index import locate
from amflow_mm.datasets.shards.member import ShardMember
from amflow_mm.datasets.shards.shard_cache import CachedShard, ShardCache
from tests.datasets.range_server import serving
from tests.datasets.shards.small_shards import make_small_shards


@pytest.fixture
def shards(tmp_path):
    """Three shards and a cache that takes two of them."""
    out = str(tmp_path / "shards")
    index = make_small_shards(tmp_path, 23, out)
    sizes = [shard.num_bytes for shard in index.shards]
    cache = ShardCache(str(tmp_path / "cache"), 2 * max(sizes))
    path = f"{out}/index.json"
    return [
        CachedShard(cache, locate(path, shard), shard.num_bytes, shard.sha256)
        for shard in index.shards[:3]
    ]


def kept(shard):
    return sorted(path.stem for path in Path(shard.cache.folder).glob("*.tar"))


def no_parts(shard):
    return not list(Path(shard.cache.folder).glob("*.part"))


def test_a_shard_is_fetched_once(shards, monkeypatch):
    shard = shards[0]
    file = shard.fetch()
    assert Path(file).read_bytes() == Path(shard.source).read_bytes()
    assert no_parts(shard)
    Path(shard.source).unlink()
    assert shard.fetch() == file


def test_the_shard_used_longest_ago_makes_room(shards):
    first, second, third = shards
    for age, shard in ((100, first), (50, second)):
        file = shard.fetch()
        os.utime(file, ns=(0, os.stat(file).st_mtime_ns - age * 10**9))
    first.fetch()  # used just now
    third.fetch()
    assert kept(first) == sorted([first.sha256, third.sha256])


def test_a_shard_in_flight_takes_room_too(shards):
    first, second, third = shards
    first.fetch()
    with FileLock(second.cache.path(second.sha256, ".lock")):
        second.cache.reserve(second.sha256, second.num_bytes)
        third.fetch()
        assert kept(first) == [third.sha256]


def test_what_a_killed_process_left_is_removed(shards):
    first, second, third = shards
    Path(first.cache.folder).mkdir()
    first.cache.reserve(first.sha256, first.num_bytes)
    second.fetch()
    third.fetch()
    assert kept(second) == sorted([second.sha256, third.sha256])
    assert no_parts(second)


def test_a_limit_below_one_shard_raises(shards):
    small = shards[0]._replace(cache=shards[0].cache._replace(max_bytes=100))
    with pytest.raises(StorageError, match=r"does not fit into cache_dir=.* raise cache_gigabytes"):
        small.fetch()


def test_a_disk_that_is_too_small_raises(shards, monkeypatch):
    usage = shard_cache.shutil.disk_usage("/")._replace(free=100)
    monkeypatch.setattr(shard_cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match=r"0\.00 GB are free; point it to a larger disk"):
        shards[0].fetch()


@pytest.mark.parametrize("change", ["flip", "cut"])
def test_a_damaged_source_is_not_kept(shards, change, monkeypatch):
    shard = shards[0]
    original = Path(shard.source).read_bytes()
    data = bytearray(original)
    data[5] ^= 1
    Path(shard.source).write_bytes(data if change == "flip" else data[:-10])
    with pytest.raises(StorageError, match=r"shard-000000\.tar is not what its index says"):
        shard.fetch()
    assert kept(shard) == []
    assert no_parts(shard)
    # Its other samples do not fetch it again, until it may have been replaced.
    with monkeypatch.context() as patch:
        patch.setattr(storage, "read_range", None)
        with pytest.raises(StorageError, match=r"is not what its index says"):
            shard.fetch()
    Path(shard.source).write_bytes(original)
    note = shard.cache.path(shard.sha256, ".damaged")
    os.utime(note, (0, 0))
    assert Path(shard.fetch()).read_bytes() == original


def member_of(tmp_path, shard):
    index = storage.read_text(tmp_path / "shards" / "index.json")
    assert shard.sha256 in index
    from amflow_mm.datasets.shards import load_index

    sample = load_index(str(tmp_path / "shards" / "index.json")).shards[0].samples[2]
    numbers = sample.offset, sample.size, sample.crc32
    return ShardMember(shard.source, *numbers, sample.path, shard)


def test_a_copy_that_rots_is_fetched_again(shards, tmp_path):
    member = member_of(tmp_path, shards[0])
    expected = storage.read_bytes(str(member))
    copy = Path(shards[0].fetch())
    copy.write_bytes(bytes(shards[0].num_bytes))
    assert storage.read_bytes(str(member)) == expected
    assert copy.read_bytes() == Path(shards[0].source).read_bytes()


def test_an_index_that_contradicts_its_shard_raises(shards, tmp_path):
    member = member_of(tmp_path, shards[0])._replace(crc32=1)
    with pytest.raises(ValueError, match=r"do not have the checksum of the index"):
        member.read()


def test_a_shard_that_is_taken_away_is_fetched_again(shards, tmp_path, monkeypatch):
    """As another process does that needs the room."""
    member = member_of(tmp_path, shards[0])
    fetch, count = CachedShard.fetch, 0

    def fetch_and_lose(self):
        nonlocal count
        count += 1
        file = fetch(self)
        if count <= losses:
            Path(file).unlink()
        return file

    monkeypatch.setattr(CachedShard, "fetch", fetch_and_lose)
    losses = 1
    assert member.read() == storage.read_bytes(str(member._replace(cached=None)))
    losses = 99
    with pytest.raises(StorageError, match=r"leave cache_dir=.* before they are read; raise"):
        member.read()


def test_a_lock_that_is_not_given_back_raises(shards, monkeypatch):
    shard = shards[0]
    Path(shard.cache.folder).mkdir()
    with (
        FileLock(shard.cache.path("room", ".lock")),
        pytest.raises(StorageError, match=r"another process has held .*room\.lock for 0 s"),
        shard.cache.locked("room", seconds=0),
    ):
        pass


def read_all(addresses, queue):
    queue.put([storage.read_bytes(address) for address in addresses])


@pytest.mark.slow
def test_processes_fetch_a_shard_once(tmp_path, shards):
    pytest.importorskip("aiohttp")
    with serving(tmp_path / "shards") as server:
        shard = shards[0]._replace(source=f"{server.url}/shard-000000.tar")
        addresses = [str(member_of(tmp_path, shard))] * 3
        context = get_context("spawn")
        queue = context.Queue()
        workers = [context.Process(target=read_all, args=(addresses, queue)) for _ in range(3)]
        for worker in workers:
            worker.start()
        results = [queue.get(timeout=120) for _ in workers]
        for worker in workers:
            worker.join(timeout=60)
        assert server.ranges == [f"bytes=0-{shard.num_bytes - 1}"]
    assert results == [[results[0][0]] * 3] * 3
