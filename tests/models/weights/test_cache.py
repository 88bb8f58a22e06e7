"""The cache: names that stay inside, files that are verified once, wrong ones that go."""

import hashlib
import json
import os

import pytest

from amflow_mm.errors import WeightsError
from amflow_mm.models.weights import cache
from amflow_mm.models.weights.cache import cache_folder, cached, name_for
from tests.models.weights.file_server import Behaviour, serve

BODY = bytes(range(251)) * 7
SHA256 = hashlib.sha256(BODY).hexdigest()
URL = "https://host/weights.pth"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("AMFLOW_MM_CACHE", str(tmp_path / "cache"))
    for name in ("AMFLOW_MM_OFFLINE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


@pytest.fixture
def placed(folder):
    """A file that somebody has put there by hand."""
    folder.mkdir()
    (folder / "w.pth").write_bytes(BODY)
    return folder / "w.pth"


@pytest.fixture
def hashed(monkeypatch):
    """Names of the files whose bytes were read for their checksum."""
    names = []
    original = cache.hash_file

    def counted(path):
        names.append(path.name)
        return original(path)

    monkeypatch.setattr(cache, "hash_file", counted)
    return names


# ---------------------------------------------------------------- where and under which name


def test_the_folder_is_where_the_environment_says(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("AMFLOW_MM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "amflow_mm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "amflow_mm"


@pytest.mark.parametrize(
    ("url", "stem", "suffix"),
    [
        ("https://host/owner/repo/resolve/main/model.safetensors", "model", ".safetensors"),
        ("https://host/a/ViT-B_16.pt?download=true#top", "ViT-B_16", ".pt"),
        ("https://host/a/vit.base.patch16.pth", "vit_base_patch16", ".pth"),
        ("https://host", "weights", ""),
        ("https://host/a/..", "weights", ""),
        ("https://host/a/..%2F..%2Fetc%2Fpasswd", "passwd", ""),
        ("https://host/a/.bashrc", "bashrc", ""),
        ("https://host/a/x%00y%0A.pth", "x_y", ".pth"),
        ("https://host/a/x.p%20h", "x_p_h", ""),
        ("https://host/a/%E5%87%89.pth", "weights", ".pth"),
        ("https://host/a/" + "x" * 500 + ".pth", "x" * 100, ".pth"),
    ],
)
def test_names_from_addresses_are_plain(url, stem, suffix):
    name = name_for(url)
    key = hashlib.sha256(url.encode()).hexdigest()[:12]
    assert name == f"{stem}-{key}{suffix}"


def test_two_addresses_never_share_a_file():
    assert name_for("https://host/a/model.pth") != name_for("https://host/b/model.pth")


def test_names_from_addresses_are_accepted(folder):
    with serve(Behaviour(BODY)) as url:
        path = cached(url, name_for(url), sha256=None)
    assert path.parent == folder


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x.pth", "/etc/x", "a/b", "a\\b", ".hidden", "x\n", "x y", "~"]
)
def test_names_that_could_lead_out_are_refused(name):
    with pytest.raises(ValueError, match="must be a plain file name"):
        cached(URL, name, sha256=None)


# ---------------------------------------------------------------- fetched and verified once


@pytest.mark.parametrize("sha256", [SHA256, SHA256.upper(), None])
def test_the_first_use_fetches_and_the_next_ones_read_nothing(folder, hashed, sha256):
    behaviour = Behaviour(BODY)
    with serve(behaviour) as url:
        for _ in range(3):
            assert cached(url, "w.pth", sha256=sha256) == folder / "w.pth"
    assert behaviour.num_requests == 1
    assert hashed == ["w.pth"]
    assert (folder / "w.pth").read_bytes() == BODY


def test_the_record_says_what_was_found(folder, placed):
    cached(URL, "w.pth", sha256=SHA256)
    record = json.loads((folder / "w.pth.json").read_text())
    stat = placed.stat()
    assert record == {
        "sha256": SHA256, "url": URL, "size": len(BODY), "mtime_ns": stat.st_mtime_ns,
    }  # fmt: skip


def test_a_file_placed_by_hand_needs_no_network(placed, hashed, monkeypatch):
    monkeypatch.setenv("AMFLOW_MM_OFFLINE", "1")
    assert cached(URL, "w.pth", sha256=SHA256) == placed
    assert cached(URL, "w.pth", sha256=SHA256) == placed
    assert hashed == ["w.pth"]


def test_a_touched_file_is_verified_again(placed, hashed):
    cached(URL, "w.pth", sha256=SHA256)
    os.utime(placed, (1, 1))
    cached(URL, "w.pth", sha256=SHA256)
    cached(URL, "w.pth", sha256=SHA256)
    assert hashed == ["w.pth"] * 2


@pytest.mark.parametrize("record", ["", "[]", '{"sha256": "0"', '{"size": 1}'])
def test_a_damaged_record_only_costs_another_look(folder, placed, hashed, record):
    (folder / "w.pth.json").write_text(record)
    assert cached(URL, "w.pth", sha256=SHA256) == placed
    assert hashed == ["w.pth"]


def assert_removed(path, message):
    assert not path.exists()
    assert not path.with_name(f"{path.name}.json").exists()
    for part in (URL, f"copy it to {path}", SHA256, "run again to fetch it anew"):
        assert part in message
    assert "\n" not in message


def test_a_wrong_file_is_removed_and_told(placed):
    placed.write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(WeightsError, match=f"had SHA-256 {found}, expected {SHA256}") as raised:
        cached(URL, "w.pth", sha256=SHA256)
    assert_removed(placed, str(raised.value))


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_file_that_changed_since_is_removed_and_told(placed, sha256):
    cached(URL, "w.pth", sha256=sha256)
    placed.write_bytes(BODY[:-1])
    with pytest.raises(WeightsError, match=f"expected {SHA256}") as raised:
        cached(URL, "w.pth", sha256=sha256)
    assert_removed(placed, str(raised.value))


def test_a_newer_checksum_wins_over_the_record(placed):
    cached(URL, "w.pth", sha256=None)
    with pytest.raises(WeightsError, match=f"had SHA-256 {SHA256}, expected {'0' * 64}"):
        cached(URL, "w.pth", sha256="0" * 64)
    assert not placed.exists()


def test_a_removed_file_is_fetched_anew(placed):
    placed.write_bytes(b"something else")
    with serve(Behaviour(BODY)) as url:
        with pytest.raises(WeightsError, match="run again"):
            cached(url, "w.pth", sha256=SHA256)
        assert cached(url, "w.pth", sha256=SHA256).read_bytes() == BODY


def test_a_read_only_cache_serves_what_it_holds(folder, placed, hashed, monkeypatch):
    monkeypatch.setattr(cache.os, "access", lambda path, mode: mode != os.W_OK)
    for _ in range(2):
        assert cached(URL, "w.pth", sha256=SHA256) == placed
    assert hashed == ["w.pth"] * 2
    assert [path.name for path in folder.iterdir()] == ["w.pth"]
