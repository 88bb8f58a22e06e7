"""What a video is recognised by: files, folders of frames, stores, shards."""

import os

import fsspec
import pytest

from amflow_mm.datasets.clip_cache import sources
from amflow_mm.datasets.clip_cache.sources import find_source
from amflow_mm.datasets.shards.member import ShardMember
from amflow_mm.datasets.storage import StorageError


@pytest.fixture(autouse=True)
def _forget():
    sources._remote_facts.cache_clear()
    sources._folder_facts.cache_clear()


def test_a_file_is_recognised_by_size_and_time(tmp_path):
    path = tmp_path / "video.mp4"
    path.write_bytes(b"abc")
    os.utime(path, ns=(5, 5))
    assert find_source(str(path)) == (str(path), (3, 5))
    assert find_source(f"file://{path}") == (str(path), (3, 5))
    os.utime(path, ns=(6, 6))
    assert find_source(str(path)).facts == (3, 6)
    path.write_bytes(b"abcd")
    assert find_source(str(path)).facts[0] == 4


def test_a_missing_file_is_left_to_the_steps(tmp_path):
    assert find_source(str(tmp_path / "none.mp4")).facts == (-1,)
    (tmp_path / "file").write_bytes(b"")
    assert find_source(str(tmp_path / "file" / "none.mp4")).facts == (-1,)


def test_a_folder_of_frames_is_recognised_by_all_of_them(tmp_path):
    for name, size in (("0.jpg", 4), ("1.jpg", 5)):
        (tmp_path / name).write_bytes(bytes(size))
        os.utime(tmp_path / name, ns=(size, size))
    (tmp_path / "thumbnails").mkdir()
    assert find_source(str(tmp_path)).facts == (9, 2, 5)
    os.utime(tmp_path / "0.jpg", ns=(7, 7))
    sources._folder_facts.cache_clear()  # as another run would find it
    assert find_source(str(tmp_path)).facts == (9, 2, 7)


def test_a_store_is_asked_once_for_size_and_version(monkeypatch):
    files = fsspec.filesystem("memory")
    files.pipe("/videos/a.mp4", b"abc")
    asked, info = [], files.info
    monkeypatch.setattr(
        type(files), "info", lambda self, path, **_: asked.append(path) or info(path)
    )
    first = find_source("memory://videos/a.mp4")
    assert first.name == "memory://videos/a.mp4"
    assert first.facts[0] == 3
    assert first.facts[1].startswith("created=")
    assert find_source("memory://videos/a.mp4") == first
    assert len(asked) == 1
    files.pipe("/videos/a.mp4", b"xyz")
    sources._remote_facts.cache_clear()
    assert find_source("memory://videos/a.mp4") != first
    assert find_source("memory://videos/b.mp4").facts == (-1,)


def test_a_store_that_cannot_be_asked_raises():
    with pytest.raises(StorageError, match="is no known protocol"):
        find_source("nowhere://videos/a.mp4")


def test_a_video_in_a_shard_is_recognised_by_its_checksum_wherever_the_shard_is():
    here = ShardMember("/data/0.tar", 512, 99, 0xABC, "a/b c.mp4")
    there = ShardMember("s3://bucket/7.tar", 1024, 99, 0xABC, "a/b c.mp4")
    assert find_source(str(here)) == find_source(str(there)) == ("a/b c.mp4", (99, 0xABC))
    assert find_source(str(here._replace(crc32=1))) != find_source(str(here))
