"""Tar files: readable by anyone, with videos where the index says."""

import hashlib
import io
import json
import tarfile
import zlib

import pytest

from amflow_mm.datasets.shards.tar_writer import TarWriter, member_suffix

VIDEOS = {"a b/é.mp4": b"x" * 1000, "c.AVI": b"", "d": bytes(range(256)) * 6, "e.webm": b"y" * 512}


@pytest.fixture
def written():
    file = io.BytesIO()
    writer = TarWriter(file)
    samples = [
        writer.add(f"{number:09d}", path, label=number + 3, data=data)
        for number, (path, data) in enumerate(VIDEOS.items())
    ]
    writer.finish()
    return file.getvalue(), samples, writer


def test_tarfile_reads_all_members(written):
    data, _, _ = written
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}
    assert list(found) == [
        f"{number:09d}{suffix}"
        for number, video in enumerate((".mp4", ".avi", ".video", ".webm"))
        for suffix in (video, ".cls", ".json")
    ]
    assert found["000000000.mp4"] == VIDEOS["a b/é.mp4"]
    assert found["000000002.video"] == VIDEOS["d"]
    assert int(found["000000003.cls"]) == 6
    assert json.loads(found["000000000.json"]) == {"path": "a b/é.mp4", "label": 3}


def test_members_of_a_video_follow_each_other(written):
    """So that who streams the file, as WebDataset does, can put them together."""
    data, samples, _ = written
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        keys = [member.name.partition(".")[0] for member in archive]
    assert keys == [sample.key for sample in samples for _ in range(3)]


def test_samples_say_where_their_bytes_are(written):
    data, samples, _ = written
    for sample, (path, video) in zip(samples, VIDEOS.items(), strict=True):
        assert sample.path == path
        assert data[sample.offset : sample.offset + sample.size] == video
        assert sample.crc32 == zlib.crc32(video)


def test_size_and_digest_are_those_of_the_file(written):
    data, _, writer = written
    assert writer.num_bytes == len(data)
    assert len(data) % tarfile.RECORDSIZE == 0
    assert writer.sha256 == hashlib.sha256(data).hexdigest()


def test_several_labels_stand_in_the_json_alone():
    file = io.BytesIO()
    writer = TarWriter(file)
    writer.add("0", "a.mp4", label=(4, 7), data=b"x")
    writer.finish()
    file.seek(0)
    with tarfile.open(fileobj=file) as archive:
        assert archive.getnames() == ["0.mp4", "0.json"]
        assert json.load(archive.extractfile("0.json"))["label"] == [4, 7]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.MP4", ".mp4"),
        ("a.b/c", ".video"),
        ("a.json", ".video"),
        ("a.cls", ".video"),
        ("a.m p", ".video"),
        ("a.tar.gz", ".gz"),
        ("a.", ".video"),
    ],
)
def test_suffix(path, expected):
    assert member_suffix(path) == expected
