"""Making shards: everything is in them once, also after a kill; nothing is replaced unasked."""

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from filelock import FileLock

from amflow_mm.datasets import storage
from amflow_mm.datasets.annotation_list import AnnotationError
from amflow_mm.datasets.remote_files import MissingStoredFileError
from amflow_mm.datasets.shards import ShardError, load_index, make_shards, plan_shards
from amflow_mm.datasets.shards.index import locate
from tests.datasets.shards.small_shards import in_memory, make_files, make_small_shards

ROOT = Path(__file__).parents[3]
COUNT = 23


@pytest.fixture(params=["path", "file", "memory"])
def out(request, tmp_path):
    if request.param == "memory":
        return in_memory()
    return f"{'file://' if request.param == 'file' else ''}{tmp_path}/shards"


def plan_of(folder, **options):
    defaults = {"videos": str(folder / "videos"), "shard_bytes": 20_000}
    return plan_shards(str(folder / "list.txt"), **(defaults | options))


def list_folder(out):
    if not storage.is_remote(out):
        return sorted(path.name for path in Path(storage.local_path(out)).iterdir())
    import fsspec

    return sorted(Path(path).name for path in fsspec.filesystem("memory").ls(out, detail=False))


def test_shards_hold_the_videos_of_the_list(tmp_path, out):
    index = make_small_shards(tmp_path, COUNT, out)
    listed = [line.rsplit(" ", 1) for line in (tmp_path / "list.txt").read_text().splitlines()]
    samples = [sample for shard in index.shards for sample in shard.samples]
    assert [[sample.path, str(sample.label)] for sample in samples] == listed
    assert [sample.key for sample in samples] == [f"{number:09d}" for number in range(COUNT)]
    for shard in index.shards:
        data = storage.read_bytes(locate(f"{out}/index.json", shard))
        for sample in shard.samples:
            expected = (tmp_path / "videos" / sample.path).read_bytes()
            assert data[sample.offset : sample.offset + sample.size] == expected


def test_nothing_but_shards_and_index_is_left(tmp_path, out):
    index = make_small_shards(tmp_path, COUNT, out)
    assert list_folder(out) == ["index.json", *(shard.file for shard in index.shards)]
    assert load_index(f"{out}/index.json") == index


def test_shards_have_about_one_size(tmp_path):
    index = make_small_shards(tmp_path, COUNT, str(tmp_path / "shards"), shard_bytes=12_000)
    assert len(index.shards) > 3
    for shard in index.shards:
        end = shard.samples[-1].offset + shard.samples[-1].size
        assert end <= 12_000
        assert shard.num_bytes >= end


def test_a_video_larger_than_a_shard_has_one_of_its_own(tmp_path):
    index = make_small_shards(tmp_path, 5, str(tmp_path / "shards"), shard_bytes=1)
    assert [len(shard.samples) for shard in index.shards] == [1] * 5


def test_a_seed_decides_on_the_order(tmp_path):
    paths = {}
    for name, seed in (("none", None), ("a", 0), ("b", 0), ("c", 1)):
        index = make_small_shards(tmp_path, COUNT, str(tmp_path / name), seed=seed)
        paths[name] = [sample.path for shard in index.shards for sample in shard.samples]
    assert paths["a"] == paths["b"]
    assert len({tuple(paths[name]) for name in ("none", "a", "c")}) == 3
    assert sorted(paths["none"]) == sorted(paths["a"]) == sorted(paths["c"])


def test_the_same_videos_make_the_same_bytes(tmp_path):
    first, second = (make_small_shards(tmp_path, 7, str(tmp_path / name)) for name in "ab")
    assert first == second


def test_list_and_videos_may_be_remote(tmp_path):
    make_files(tmp_path, 7)
    source = in_memory()
    storage.upload(tmp_path / "list.txt", f"{source}/list.txt")
    for path in (tmp_path / "videos").rglob("*.*"):
        name = path.relative_to(tmp_path / "videos")
        storage.upload(path, f"{source}/videos/{name}")
    plan = plan_shards(f"{source}/list.txt", videos=f"{source}/videos", shard_bytes=20_000)
    index = make_shards(plan, f"{source}/shards")
    assert index == make_small_shards(tmp_path, 7, str(tmp_path / "shards"))


def test_several_labels(tmp_path):
    make_files(tmp_path, 2)
    videos = tmp_path / "videos"
    (videos / "a.mp4").write_bytes(b"x")
    (tmp_path / "list.txt").write_text("a.mp4 3 1\n")
    index = make_shards(plan_of(tmp_path, is_multi_class=True), str(tmp_path / "shards"))
    assert index.shards[0].samples[0].label == (3, 1)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[4])
from pathlib import Path
from amflow_mm.datasets.shards import make_shards, plan_shards
from amflow_mm.datasets.shards.tar_writer import TarWriter

add, left = TarWriter.add, int(sys.argv[3])
def die(self, *arguments, **options):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return add(self, *arguments, **options)
TarWriter.add = die
folder = Path(sys.argv[1])
plan = plan_shards(str(folder / "list.txt"), videos=str(folder / "videos"), shard_bytes=20_000)
make_shards(plan, sys.argv[2], num_threads=2)
"""


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path, monkeypatch):
    expected = make_small_shards(tmp_path, COUNT, str(tmp_path / "expected"))
    first = len(expected.shards[0].samples)
    out = str(tmp_path / "shards")
    command = [sys.executable, "-c", KILLED, str(tmp_path), out, str(first + 2), str(ROOT)]
    finished = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert finished.returncode == -signal.SIGKILL, finished.stderr
    left = list_folder(out)
    assert "shard-000000.tar" in left
    assert "shard-000001.tar" not in left
    assert "index.json" not in left
    inode = os.stat(f"{out}/shard-000000.tar").st_ino
    assert make_shards(plan_of(tmp_path), out) == expected
    assert os.stat(f"{out}/shard-000000.tar").st_ino == inode
    assert list_folder(out) == ["index.json", *(shard.file for shard in expected.shards)]


def interrupt(tmp_path, out, monkeypatch, after):
    """Run until the write of a receipt, which fails."""
    make_files(tmp_path, COUNT)
    write, count = storage.write_bytes, 0

    def stop(path, data):
        nonlocal count
        count += 1
        if count > after:
            raise KeyboardInterrupt
        write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_bytes", stop)
        with pytest.raises(KeyboardInterrupt):
            make_shards(plan_of(tmp_path), out)


def test_an_interrupted_run_goes_on(tmp_path, out, monkeypatch):
    interrupt(tmp_path, out, monkeypatch, after=2)
    receipts = [name for name in list_folder(out) if "receipt" in name]
    assert receipts == ["shard-000000.receipt.json", "shard-000001.receipt.json"]
    storage.remove(f"{out}/shard-000001.tar")  # its receipt alone does not count
    index = make_shards(plan_of(tmp_path), out)
    assert index == make_small_shards(tmp_path, COUNT, str(tmp_path / "expected"))


def test_a_run_for_another_list_does_not_go_on(tmp_path, out, monkeypatch):
    interrupt(tmp_path, out, monkeypatch, after=1)
    with pytest.raises(ShardError, match=r"another list, order or size; choose another --out"):
        make_shards(plan_of(tmp_path, seed=3), out)


def test_a_damaged_receipt_raises(tmp_path, out, monkeypatch):
    interrupt(tmp_path, out, monkeypatch, after=1)
    storage.write_bytes(f"{out}/shard-000000.receipt.json", b"{}")
    with pytest.raises(ShardError, match=r"shard-000000\.receipt\.json is damaged.*remove it"):
        make_shards(plan_of(tmp_path), out)


def test_finished_shards_are_left_alone(tmp_path, out):
    index = make_small_shards(tmp_path, COUNT, out)
    (tmp_path / "videos" / "class 0" / "000.mp4").unlink()
    assert make_shards(plan_of(tmp_path), out) == index
    for other in ({"seed": 0}, {"shard_bytes": 30_000}):
        with pytest.raises(ShardError, match=r"index\.json belongs to shards of another list"):
            make_shards(plan_of(tmp_path, **other), out)


def test_a_missing_video_is_named_with_its_line(tmp_path, out):
    make_files(tmp_path, COUNT)
    (tmp_path / "videos" / "class 1" / "006.mp4").unlink()
    with pytest.raises(MissingStoredFileError, match=r"line 7 of the list: .*006\.mp4 does not"):
        make_shards(plan_of(tmp_path, seed=1), out)
    assert not storage.exists(f"{out}/index.json")


def test_an_empty_video_is_named_with_its_line(tmp_path, out):
    make_files(tmp_path, COUNT)
    (tmp_path / "videos" / "class 1" / "006.mp4").write_bytes(b"")
    with pytest.raises(AnnotationError, match=r"line 7 of the list: class 1/006\.mp4 is empty"):
        make_shards(plan_of(tmp_path), out)


def test_a_path_that_leaves_the_folder_raises(tmp_path):
    (tmp_path / "list.txt").write_text("a.mp4 0\n../b.mp4 1\n")
    with pytest.raises(AnnotationError, match=r"list\.txt, line 2: .*leaves its folder"):
        plan_of(tmp_path)


def test_a_shard_that_reads_back_otherwise_raises(tmp_path, out, monkeypatch):
    make_files(tmp_path, 7)
    read = storage.read_range

    def flip(path, start, stop):
        data = bytearray(read(path, start, stop))
        data[0] ^= 1
        return bytes(data)

    monkeypatch.setattr(storage, "read_range", flip)
    with pytest.raises(ShardError, match=r"shard-000000\.tar reads back as something else"):
        make_shards(plan_of(tmp_path), out)
    assert [name for name in list_folder(out) if name.endswith(".json")] == []


def test_two_runs_do_not_mix(tmp_path):
    make_files(tmp_path, 7)
    out = tmp_path / "shards"
    out.mkdir()
    with (
        FileLock(out / ".shards-lock"),
        pytest.raises(ShardError, match=r"another run is making shards in .*; wait for its end"),
    ):
        make_shards(plan_of(tmp_path), str(out))


def test_numbers_below_one_raise(tmp_path):
    make_files(tmp_path, 2)
    with pytest.raises(ShardError, match=r"shard_bytes=0 must be >= 1"):
        plan_of(tmp_path, shard_bytes=0)
    plan = plan_of(tmp_path)
    with pytest.raises(ShardError, match=r"num_threads=0 must be >= 1"):
        make_shards(plan, str(tmp_path / "shards"), num_threads=0)


def test_progress_is_shown(tmp_path, capsys):
    make_small_shards(tmp_path, 20, str(tmp_path / "shards"))
    assert "videos: 20/20, done in" in capsys.readouterr().err


def test_json_members_hold_path_and_label(tmp_path):
    out = tmp_path / "shards"
    make_small_shards(tmp_path, 3, str(out))
    with tarfile.open(out / "shard-000000.tar") as archive:
        facts = json.load(archive.extractfile("000000001.json"))
    assert facts == {"path": "class 1/001.avi", "label": 1}
