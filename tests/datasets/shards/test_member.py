"""Addresses of videos in shards: read like files, and clear about damage."""

import pytest

from amflow_mm.datasets import storage
from amflow_mm.datasets.decoding.errors import UnreadableVideoError
from amflow_mm.datasets.shards.index import locate
from amflow_mm.datasets.shards.member import ShardMember
from amflow_mm.datasets.shards.shard_cache import CachedShard, ShardCache
from tests.datasets.shards.small_shards import in_memory, make_small_shards

NAME = "class 3/003.mp4"


@pytest.fixture(params=["path", "memory"])
def member(request, tmp_path):
    out = in_memory() if request.param == "memory" else str(tmp_path / "shards")
    index = make_small_shards(tmp_path, 7, out)
    sample = index.shards[0].samples[3]
    assert sample.path == NAME
    shard = locate(f"{out}/index.json", index.shards[0])
    return ShardMember(shard, sample.offset, sample.size, sample.crc32, sample.path)


def test_storage_reads_it_like_a_file(member, tmp_path):
    address = str(member)
    expected = (tmp_path / "videos" / NAME).read_bytes()
    assert storage.is_remote(address)
    assert storage.read_bytes(address) == expected
    assert storage.file_size(address) == len(expected)
    assert storage.exists(address)
    assert not storage.is_folder(address)
    assert storage.open_file(address).read(5) == expected[:5]
    assert storage.join("elsewhere", address) == address


@pytest.mark.parametrize(
    "member",
    [
        ShardMember("s3://b/a#b/x.tar", 512, 7, 0xABC, "a b/ü#&=%.mp4"),
        ShardMember("/data/x.tar", 0, 1, 0xFFFFFFFF, "x.mp4"),
        ShardMember(
            "data/x.tar",
            0,
            1,
            0,
            "../x.mp4",
            CachedShard(ShardCache("/c a&che", 10**12), "data/x.tar", 7, "ab" * 32),
        ),
    ],
)
def test_an_address_leads_to_what_it_was_made_of(member):
    assert ShardMember.parse(str(member)) == member


def test_an_address_ends_like_the_path_in_the_list(member):
    assert str(member).endswith("class%203/003.mp4")


@pytest.mark.parametrize("address", ["shard+s3://b/x.tar", "shard+s3://b/x.tar#offset=1"])
def test_a_broken_address_raises(address):
    with pytest.raises(ValueError, match=r"x\.tar.* is no address of a video in a shard"):
        storage.read_bytes(address)


def damage(member, change):
    data = bytearray(storage.read_bytes(member.shard))
    storage.write_bytes(member.shard, bytes(change(data)))


def test_a_flipped_bit_raises(member):
    def flip(data):
        data[member.offset + member.size // 2] ^= 4
        return data

    damage(member, flip)
    with pytest.raises(UnreadableVideoError, match=r"checksum of the index; copy") as caught:
        storage.read_bytes(str(member))
    assert caught.value.reason == "corrupt"
    assert str(caught.value).startswith(f"{NAME} in {member.shard}: ")


@pytest.mark.parametrize("left", [0, 1])
def test_a_truncated_shard_raises(member, left):
    damage(member, lambda data: data[: member.offset + left])
    missing = member.size - left
    with pytest.raises(UnreadableVideoError, match=rf"{NAME}.* ends {missing} bytes") as caught:
        storage.read_bytes(str(member))
    assert caught.value.reason == "truncated"


def test_a_missing_shard_raises(member):
    storage.remove(member.shard)
    with pytest.raises(UnreadableVideoError, match=rf"{NAME} in .*: there is no such") as caught:
        storage.read_bytes(str(member))
    assert caught.value.reason == "missing"


def test_passwords_are_not_shown():
    member = ShardMember("nonsense://me:secret@host/x.tar", 0, 7, 1, "a.mp4")
    with pytest.raises(storage.StorageError, match=r"nonsense://…@host/x\.tar") as caught:
        storage.read_bytes(str(member))
    assert "secret" not in str(caught.value)
