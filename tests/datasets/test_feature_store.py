"""Rows on disk: what is marked complete is complete, also after a kill."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from amflow_mm.datasets import FeatureStore

NUM_ROWS = 7


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "cache" / "store", NUM_ROWS)


def row_of(index):
    rng = np.random.default_rng(index)
    return {
        "tokens": rng.normal(size=(2, 3)).astype(np.float16),
        "vector": rng.normal(size=5).astype(np.float32),
        "label": np.array(index),
    }


def assert_row(store, index):
    expected = row_of(index)
    found = store.read(index)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        assert np.array_equal(found[name], value)


def test_nothing_is_there_at_the_start(store):
    assert not store.exists
    assert not store.is_complete
    assert not store.has(0)
    assert store.missing_rows() == list(range(NUM_ROWS))
    assert not store.folder.exists()


def test_rows_are_written_in_any_order_and_read_as_they_were(store):
    store.write({5: row_of(5), 0: row_of(0)})
    assert store.missing_rows() == [1, 2, 3, 4, 6]
    assert store.has(5)
    assert not store.has(1)
    assert not store.is_complete
    store.write({index: row_of(index) for index in store.missing_rows()})
    assert store.is_complete
    assert store.missing_rows() == []
    for index in range(NUM_ROWS):
        assert_row(store, index)


def test_rows_may_be_changed_by_who_reads_them(store):
    store.write({0: row_of(0)})
    store.read(0)["vector"][:] = 9
    assert_row(store, 0)


def test_another_store_of_the_folder_sees_the_rows(store):
    other = FeatureStore(store.folder, NUM_ROWS)
    assert not other.exists
    store.write({2: row_of(2)})
    assert other.missing_rows() == store.missing_rows()
    assert_row(other, 2)
    other.write({3: row_of(3)})
    assert_row(store, 3)
    assert store.has(3)


def test_only_whole_rows_are_ever_written(store):
    """What is mapped cannot be: a map writes back whole pages, and the rows of others with them."""
    store.write({2: row_of(2)})
    assert store.read(2)["vector"].flags.writeable
    for array in store._maps.values():
        assert not array.flags.writeable


def test_files_are_read_again_after_they_were_reopened(store):
    """Another machine's marks show in files that are opened later; so does a file put in place."""
    store.write({2: row_of(2)})
    assert not store.has(3)
    marks = store.folder / "done.bin"
    (store.folder / "new").write_bytes(bytes([0, 0, 1, 1, 0, 0, 0]))
    os.replace(store.folder / "new", marks)
    assert not store.has(3)
    store.reopen()
    assert store.missing_rows() == [0, 1, 4, 5, 6]


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from amflow_mm.datasets import FeatureStore
from tests.datasets.test_feature_store import row_of

start, num_rows = map(int, sys.argv[2:4])
store = FeatureStore(Path(sys.argv[1]), num_rows)
for row in range(start, num_rows, 2):
    store.write({row: row_of(row)})
"""


@pytest.mark.slow
def test_two_processes_write_at_once(tmp_path):
    """Rows and marks of both lie side by side in the same pages."""
    root, folder, num_rows = str(Path(__file__).parents[2]), tmp_path / "store", 41
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(start), str(num_rows), root], cwd=root
        )
        for start in (0, 1)
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    store = FeatureStore(folder, num_rows)
    assert store.is_complete
    for row in range(num_rows):
        assert_row(store, row)


def test_a_pickle_holds_the_path_and_no_arrays(store):
    store.write({index: row_of(index) for index in range(NUM_ROWS)})
    text = pickle.dumps(store)
    assert len(text) < 500
    assert_row(pickle.loads(text), 4)


def test_a_row_counts_only_once_its_data_are_on_disk(store, monkeypatch):
    store.write({0: row_of(0)})

    def full(file):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left"):
            store.write({1: row_of(1)})
    assert FeatureStore(store.folder, NUM_ROWS).missing_rows() == [1, 2, 3, 4, 5, 6]


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
sys.path[:0] = sys.argv[3:]
from amflow_mm.datasets import FeatureStore
from tests.datasets.test_feature_store import NUM_ROWS, row_of

store = FeatureStore(Path(sys.argv[1]), NUM_ROWS)
store.write({0: row_of(0), 4: row_of(4)})
flush, count = os.fsync, 0
def die_at(file):
    global count
    count += 1
    if count == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    flush(file)
os.fsync = die_at
store.write({2: row_of(2)})
store.write({3: row_of(3)})
"""


@pytest.mark.slow
@pytest.mark.parametrize("flush", [1, 4, 5])
def test_a_killed_process_loses_the_row_in_flight_alone(store, flush):
    """Each write flushes three arrays, then the marks."""
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", KILLED, str(store.folder), str(flush), root]
    finished = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    assert finished.returncode == -signal.SIGKILL, finished.stderr
    done = {0, 4} | ({2} if flush >= 4 else set())
    assert set(range(NUM_ROWS)) - set(store.missing_rows()) == done
    for index in done:
        assert_row(store, index)
    store.write({index: row_of(index) for index in store.missing_rows()})
    for index in range(NUM_ROWS):
        assert_row(store, index)


def test_of_two_that_begin_at_once_one_lays_out(store):
    first, second = store, FeatureStore(store.folder, NUM_ROWS)
    first.write({0: row_of(0)})
    second._create(row_of(0))
    second.write({1: row_of(1)})
    assert_row(first, 0)
    assert_row(first, 1)
    assert [path.name for path in store.folder.parent.iterdir()] == [store.folder.name]


def test_a_folder_that_cannot_be_made_raises(store):
    store.folder.mkdir(parents=True)
    (store.folder / "something").write_text("else")
    with pytest.raises(OSError, match=r"not empty|exists"):
        store.write({0: row_of(0)})
    assert [path.name for path in store.folder.parent.iterdir()] == [store.folder.name]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_raises_and_nothing_is_written(store, value):
    row = row_of(3)
    row["tokens"][1, 2] = value
    with pytest.raises(ValueError, match="row 3 of 'tokens' is not finite in float16"):
        store.write({2: row_of(2), 3: row})
    assert not store.exists


@pytest.mark.parametrize(
    "change",
    [
        {"vector": np.zeros(1, np.float32)},  # would be broadcast
        {"vector": np.zeros(6, np.float32)},
        {"vector": np.zeros(5, np.float64)},
        {"other": np.zeros(5, np.float32)},
    ],
)
def test_a_row_of_another_layout_raises(store, change):
    store.write({0: row_of(0)})
    with pytest.raises(ValueError, match=r"row 2 holds .* one size, length and number of views"):
        store.write({1: row_of(1), 2: row_of(2) | change})
    assert store.missing_rows() == [1, 2, 3, 4, 5, 6]


def test_a_row_that_lacks_an_array_raises(store):
    store.write({0: row_of(0)})
    row = row_of(1)
    del row["vector"]
    with pytest.raises(ValueError, match=r"row 1 holds .* number of views"):
        store.write({1: row})


def test_a_disk_that_is_too_small_raises_before_anything_is_written(store, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match=r"7 rows take .* GB free; point cache_dir to a larger disk"):
        store.write({0: row_of(0)})
    assert not store.exists


def test_the_size_on_disk_is_that_of_the_files(store):
    store.write({0: row_of(0)})
    row_size = 2 * 3 * 2 + 5 * 4 + 8 + 1
    assert store.num_bytes_with(row_of(1)) == NUM_ROWS * row_size
    layout = os.path.getsize(store.folder / "layout.json")
    assert store.num_bytes() == NUM_ROWS * row_size + layout
