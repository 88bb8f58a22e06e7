"""The store of clips: many writers, crashes, damage, limits."""

import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amflow_mm.datasets.clip_cache import ClipStore, shards, writer
from tests.datasets.clip_cache.cache_parts import RECIPE, get, key_of, payload_of, put

ROOT = Path(__file__).parents[3]
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


def data_files(folder):
    return sorted(folder.glob("*.clips"))


def fill(folder, numbers):
    store = ClipStore(folder)
    assert all(put(store, number) for number in numbers)
    store.close()


def test_what_is_put_is_got(folder):
    store = ClipStore(folder)
    assert get(store, 1) is None
    for number in range(50):
        assert put(store, number)
    assert [get(store, number) for number in reversed(range(50))] == [
        payload_of(number) for number in reversed(range(50))
    ]
    assert get(store, 50) is None
    assert store.counts == {"misses": 2, "hits": 50, "stored": 50, "damaged": 0}


def test_parts_are_joined(folder):
    store = ClipStore(folder)
    store.put(key_of(1), RECIPE, [memoryview(b"ab"), memoryview(b""), memoryview(b"cde")])
    assert get(store, 1) == b"abcde"


def test_payloads_belong_to_the_reader(folder):
    store = ClipStore(folder)
    put(store, 1)
    store.get(key_of(1))[:] = 0
    assert get(store, 1) == payload_of(1)


def test_nothing_is_made_by_reading(folder):
    assert get(ClipStore(folder), 1) is None
    assert not folder.exists()


def test_a_reader_sees_what_others_write(folder):
    reader, writer_ = ClipStore(folder), ClipStore(folder)
    assert get(reader, 1) is None
    put(writer_, 1)
    assert get(reader, 1) == payload_of(1)
    put(writer_, 2)
    assert get(reader, 2) == payload_of(2)


def test_two_stores_write_into_shards_of_their_own_and_leave_them_to_others(folder):
    first, second = ClipStore(folder), ClipStore(folder)
    put(first, 1)
    put(second, 2)
    assert len(data_files(folder)) == 2
    first.close()
    second.close()
    fill(folder, range(3, 6))
    assert len(data_files(folder)) == 2
    assert [get(ClipStore(folder), n) for n in range(1, 6)] == [payload_of(n) for n in range(1, 6)]


def test_a_full_shard_is_left(folder, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 500)
    fill(folder, range(20))
    assert len(data_files(folder)) >= 5
    assert all(path.stat().st_size <= 500 for path in data_files(folder))
    store = ClipStore(folder)
    assert [get(store, n) for n in range(20)] == [payload_of(n) for n in range(20)]


def test_many_records_are_found_after_sorting(folder):
    store = ClipStore(folder)
    for number in range(2500):
        put(store, number, str(number).encode())
        if number % 500 == 0:
            assert get(store, number) == str(number).encode()
    assert all(get(store, number) == str(number).encode() for number in range(2500))
    assert all(get(ClipStore(folder), n) == str(n).encode() for n in (0, 1234, 2499))


def test_more_shards_than_open_files(folder, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 300)
    monkeypatch.setattr("amflow_mm.datasets.clip_cache.reader.MAX_OPEN_FILES", 2)
    fill(folder, range(12))
    assert len(data_files(folder)) > 3
    store, before = ClipStore(folder), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        assert [get(store, n) for n in range(12)] == [payload_of(n) for n in range(12)]
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def write_many(folder, seed):
    store = ClipStore(folder)
    for number in range(60):
        if get(store, number) is None:
            assert put(store, number)
    assert all(get(store, number) == payload_of(number) for number in range(60))


def test_processes_write_the_same_clips_at_once(folder):
    processes = [FORK.Process(target=write_many, args=(folder, seed)) for seed in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    store = ClipStore(folder)
    assert all(get(store, number) == payload_of(number) for number in range(60))
    assert store.counts["damaged"] == 0


def put_one(store, number):
    assert put(store, number)
    assert get(store, number) == payload_of(number)


def test_a_forked_process_does_not_write_into_the_shard_of_its_parent(folder):
    store = ClipStore(folder)
    put(store, 1)
    process = FORK.Process(target=put_one, args=(store, 2))
    process.start()
    put(store, 3)
    process.join()
    put(store, 4)
    assert process.exitcode == 0
    assert len(data_files(folder)) == 2
    assert [get(store, n) for n in range(1, 5)] == [payload_of(n) for n in range(1, 5)]


def test_pickles_without_its_files(folder):
    store = ClipStore(folder, max_bytes=10_000, verify="always")
    put(store, 1)
    copy = pickle.loads(pickle.dumps(store))
    assert (copy.folder, copy.max_bytes, copy.verify) == (folder, 10_000, "always")
    assert get(copy, 1) == payload_of(1)
    put(copy, 2)
    assert len(data_files(folder)) == 2  # the original still holds its shard


WRITE_FOR_EVER = """
import itertools, pathlib, sys
from amflow_mm.datasets.clip_cache import ClipStore
from tests.datasets.clip_cache.cache_parts import get, put
store = ClipStore(pathlib.Path(sys.argv[1]))
for number in itertools.count():
    if get(store, number) is None:
        put(store, number, bytes([number % 251]) * 300_000)
    print(number, flush=True)
"""


@pytest.mark.slow
def test_a_writer_that_is_killed_loses_nothing_that_it_has_written(folder):
    for round_ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, str(folder)], cwd=ROOT, stdout=subprocess.PIPE
        )
        for _ in range(30 * (round_ + 1)):
            last = int(process.stdout.readline())
        time.sleep(0.003 * round_)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        store = ClipStore(folder)
        assert [get(store, n) for n in range(last + 1)] == [
            bytes([n % 251]) * 300_000 for n in range(last + 1)
        ]
        assert store.counts["damaged"] == 0
    assert len(data_files(folder)) == 1


def test_a_torn_tail_is_written_over(folder):
    fill(folder, [1, 2])
    (data,), (index,) = data_files(folder), folder.glob("*.index")
    size, index_size = data.stat().st_size, index.stat().st_size
    with data.open("ab") as stream:
        stream.write(b"half a clip")
    with index.open("ab") as stream:
        stream.write(b"half a record")
    assert get(ClipStore(folder), 2) == payload_of(2)
    fill(folder, [3])
    assert data.stat().st_size == size + len(payload_of(3))
    assert index.stat().st_size == index_size * 3 // 2
    store = ClipStore(folder)
    assert [get(store, n) for n in (1, 2, 3)] == [payload_of(n) for n in (1, 2, 3)]


@pytest.mark.parametrize("place", [0, 20, 32, 47])
def test_a_record_with_a_flipped_bit_does_not_exist(folder, place):
    fill(folder, [1, 2, 3])
    (index,) = folder.glob("*.index")
    content = bytearray(index.read_bytes())
    content[48 + place] ^= 4
    index.write_bytes(content)
    store = ClipStore(folder)
    assert [get(store, n) for n in (1, 2, 3)] == [payload_of(1), None, payload_of(3)]
    assert store.counts["damaged"] == 0
    put(store, 2)
    assert [get(store, n) for n in (1, 2, 3)] == [payload_of(n) for n in (1, 2, 3)]


def flip_byte(folder, offset):
    (data,) = data_files(folder)
    content = bytearray(data.read_bytes())
    content[offset] ^= 1
    data.write_bytes(content)


def test_a_damaged_clip_is_missed_counted_and_stored_anew(folder, logged):
    fill(folder, [1, 2])
    flip_byte(folder, 50)
    store = ClipStore(folder)
    assert get(store, 1) is None
    assert get(store, 1) is None  # remembered, and counted once
    assert store.counts == {"misses": 2, "damaged": 1}
    assert len(logged) == 1
    assert "holds damaged clips" in logged[0]
    put(store, 1)
    assert [get(store, n) for n in (1, 2)] == [payload_of(1), payload_of(2)]
    assert get(ClipStore(folder), 1) == payload_of(1)


def test_once_trusts_what_it_has_seen_and_always_does_not(folder, logged):
    fill(folder, [1])
    once, always = ClipStore(folder, verify="once"), ClipStore(folder, verify="always")
    assert get(once, 1) == get(always, 1) == payload_of(1)
    flip_byte(folder, 5)
    assert get(once, 1) not in (None, payload_of(1))
    assert get(always, 1) is None
    assert get(ClipStore(folder), 1) is None


def test_data_that_a_power_cut_has_swallowed_are_damage(folder, logged):
    fill(folder, [1, 2])
    (data,) = data_files(folder)
    os.truncate(data, 150)
    store = ClipStore(folder)
    assert [get(store, 1), get(store, 2)] == [payload_of(1), None]
    put(store, 2)
    assert get(ClipStore(folder), 2) == payload_of(2)


def test_a_disk_error_is_damage(folder, monkeypatch, logged):
    fill(folder, [1])
    store = ClipStore(folder)

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", fail)
        assert get(store, 1) is None
    assert store.counts["damaged"] == 1


def total_size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_folder_never_outgrows_its_limit(folder, logged):
    stores = [ClipStore(folder, max_bytes=3000) for _ in range(3)]
    stored = [number for number in range(40) if put(stores[number % 3], number, b"x" * 100)]
    assert 3000 - 148 < total_size(folder) <= 3000
    assert 10 < len(stored) < 30
    reader = ClipStore(folder)
    assert all((get(reader, n) is not None) == (n in stored) for n in range(40))
    assert sum("takes no more clips" in line for line in logged) == 3  # once each
    assert "max_gigabytes=3e-06" in logged[0]


def write_with_limit(folder, seed):
    store = ClipStore(folder, max_bytes=20_000)
    for number in range(100):
        put(store, seed * 1000 + number, b"x" * 97)


def test_the_limit_holds_for_processes_together(folder):
    processes = [FORK.Process(target=write_with_limit, args=(folder, seed)) for seed in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert 20_000 - 145 < total_size(folder) <= 20_000


def test_a_full_disk_stops_the_storing_and_nothing_else(folder, monkeypatch, logged):
    store = ClipStore(folder)
    put(store, 1)

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        assert not put(store, 2)
    assert not put(store, 3)
    assert get(store, 1) == payload_of(1)
    assert [get(store, 2), get(store, 3)] == [None, None]
    assert len(logged) == 1
    assert "takes no more clips: No space left on device" in logged[0]
    fill(folder, [2, 3])
    assert [get(store, n) for n in (1, 2, 3)] == [payload_of(n) for n in (1, 2, 3)]


def test_a_record_that_was_half_written_is_repaired(folder, monkeypatch, logged):
    store, write = ClipStore(folder), os.write
    put(store, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: write(file, data[:20]))
        assert not put(store, 2)
    fill(folder, [3])
    assert [get(ClipStore(folder), n) for n in (1, 2, 3)] == [payload_of(1), None, payload_of(3)]


def test_some_of_the_disk_is_left_to_the_run(folder, monkeypatch, logged):
    monkeypatch.setattr(writer, "MIN_FREE_BYTES", 1 << 60)
    store = ClipStore(folder)
    assert not put(store, 1)
    assert "which are left to the run itself" in logged[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_read(folder, logged):
    fill(folder, [1])
    folder.chmod(0o555)
    store = ClipStore(folder)
    assert get(store, 1) == payload_of(1)
    assert not put(store, 2)


def test_a_folder_that_cannot_be_read_is_no_obstacle(tmp_path, logged):
    (tmp_path / "file").write_text("")
    store = ClipStore(tmp_path / "file" / "cache")
    assert get(store, 1) is None
    assert not put(store, 1)
    assert len(logged) == 1
