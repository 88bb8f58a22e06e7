"""The index: what is written is read, what contradicts itself is refused before training."""

import json

import pytest

from amflow_mm.datasets import storage
from amflow_mm.datasets.shards import ShardError, load_index
from amflow_mm.datasets.shards.index import check_labels, check_shards, locate
from tests.datasets.shards.small_shards import in_memory, make_small_shards


@pytest.fixture
def made(tmp_path):
    out = str(tmp_path / "shards")
    index = make_small_shards(tmp_path, 23, out)
    return f"{out}/index.json", index


def test_what_is_written_is_read(made):
    path, index = made
    assert load_index(path) == index
    assert len(index) == 23
    assert len(index.shards) >= 3


def test_several_labels_are_read_as_they_were(made):
    path, index = made
    content = json.loads(index.dump())
    content["shards"][0]["samples"][0][2] = [2, 4]
    storage.write_bytes(path, json.dumps(content).encode())
    assert load_index(path).shards[0].samples[0].label == (2, 4)


def test_the_text_has_a_line_for_each_video(made):
    _, index = made
    assert len(index.dump().decode().splitlines()) == len(index) + 2 * len(index.shards) + 2


def set_in(keys, value):
    def change(content):
        *path, last = keys
        for key in path:
            content = content[key]
        content[last] = value

    return change


SAMPLE = ("shards", 0, "samples", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_in(["format"], "other"), r"is no index of shards; tools/data/make_shards\.py"),
        (set_in(["version"], 2), r"has version 2, but this program knows 1; update it"),
        (set_in(["columns"], ["key"]), r"damaged .*columns \['key'\] are not"),
        (set_in(["shards"], []), r"lists no shards"),
        (set_in(["shards", 0, "file"], "../x.tar"), r"'\.\./x\.tar' is not the name of a file"),
        (set_in(["shards", 0, "file"], 3), r"3 is not the name of a file"),
        (set_in(["shards", 1, "file"], "shard-000000.tar"), r"'shard-000000\.tar' stands 2 times"),
        (set_in(["shards", 0, "sha256"], "12"), r"sha256 '12' .* is no digest"),
        (set_in(["shards", 0, "bytes"], -1), r"-1 bytes, no size"),
        (set_in(["shards", 0, "bytes"], 600), r"ends at byte \d+ of shard-000000\.tar, which has"),
        (set_in(["shards", 0, "samples"], []), r"no size of a shard"),
        (set_in([*SAMPLE, 0], "000000001"), r"key '000000001' stands 2 times"),
        (set_in([*SAMPLE, 2], "3"), r"label '3' of .* is not a whole number"),
        (set_in([*SAMPLE, 2], []), r"label \[\] of .* is not a whole number"),
        (set_in([*SAMPLE, 2], True), r"label True of"),
        (set_in([*SAMPLE, 3], 1.5), r"not offset, size and checksum"),
        (set_in([*SAMPLE, 3], 10**9), r"ends at byte 10\d+ of"),
        (set_in([*SAMPLE, 1], None), r"lacks key or path"),
        (set_in(SAMPLE, [1]), r"damaged"),
        (lambda content: content.pop("plan"), r"damaged \(KeyError: 'plan'\)"),
    ],
)
def test_a_damaged_index_raises(made, change, message):
    path, index = made
    content = json.loads(index.dump())
    change(content)
    storage.write_bytes(path, json.dumps(content).encode())
    with pytest.raises(ShardError, match=message) as caught:
        load_index(path)
    assert "index.json" in str(caught.value)


@pytest.mark.parametrize("text", [b"{", b"[1]", b"", b"\xff", b'"amflow-shards"'])
def test_what_is_no_index_raises(tmp_path, text):
    path = tmp_path / "index.json"
    path.write_bytes(text)
    with pytest.raises(ShardError, match=r"is not JSON|is no index of shards"):
        load_index(str(path))


def test_a_missing_index_raises(tmp_path):
    with pytest.raises(storage.MissingStoredFileError, match=r"index\.json does not exist"):
        load_index(str(tmp_path / "index.json"))


def test_labels_are_checked(made):
    path, index = made
    check_labels(path, index, 5, is_multi_class=False)
    check_labels(path, index, None, is_multi_class=False)
    with pytest.raises(ShardError, match=r"label 4 of class 4/004\.avi in shard-0.*num_classes is"):
        check_labels(path, index, 4, is_multi_class=False)
    with pytest.raises(ShardError, match=r"multi_class=True, but"):
        check_labels(path, index, 5, is_multi_class=True)


@pytest.mark.parametrize("is_remote", [False, True])
def test_missing_and_truncated_shards_are_found(tmp_path, is_remote):
    out = in_memory() if is_remote else str(tmp_path / "shards")
    index = make_small_shards(tmp_path, 23, out)
    path = f"{out}/index.json"
    check_shards(path, index)
    first, second = (locate(path, shard) for shard in index.shards[:2])
    storage.write_bytes(second, storage.read_bytes(second)[:-1])
    expected = index.shards[1].num_bytes
    message = rf"has {expected - 1} bytes where {expected} were written \(1 of \d shards"
    with pytest.raises(ShardError, match=message):
        check_shards(path, index)
    storage.remove(first)
    with pytest.raises(ShardError, match=r"shard-000000\.tar does not exist \(2 of \d shards"):
        check_shards(path, index)


def test_an_index_in_the_working_folder_finds_its_shards(made, monkeypatch, tmp_path):
    _, index = made
    monkeypatch.chdir(tmp_path / "shards")
    check_shards("index.json", load_index("index.json"))
