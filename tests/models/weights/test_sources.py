"""What ``pretrained`` may say, and which file each means."""

import hashlib
import importlib.util
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from amflow_mm.errors import WeightsError
from amflow_mm.models.weights import mmpretrain, read_image_weights, sources
from amflow_mm.models.weights.cache import cache_folder, name_for
from amflow_mm.models.weights.catalog import CATALOG
from amflow_mm.models.weights.normalization import CLIP, IMAGENET
from amflow_mm.models.weights.sources import hf_address, locate
from amflow_mm.testing import fixed_init_
from tests.models.weights.foreign_models import PlainViT
from tests.models.weights.zoo import write_zoo


@pytest.fixture
def fetched(monkeypatch, tmp_path):
    """Files that the cache holds by their address; what is asked for is noted."""
    monkeypatch.setenv("AMFLOW_MM_CACHE", str(tmp_path / "cache"))
    asked = []

    def cached(url, name, *, sha256):
        asked.append((url, sha256))
        path = cache_folder() / name
        path.parent.mkdir(exist_ok=True)
        state = fixed_init_(PlainViT(is_dinov2=True)).state_dict()
        write = save_file if path.suffix == ".safetensors" else torch.save
        write(state, path)
        return path

    monkeypatch.setattr(sources, "cached", cached)
    return asked


def test_a_name_is_fetched_with_its_checksum(fetched):
    entry = CATALOG["clip-vit-b16-openai"]
    found = locate("clip-vit-b16-openai")
    assert found.entry is entry
    assert found.normalization == CLIP
    assert found.path == cache_folder() / name_for(entry.url)
    assert fetched == [(entry.url, entry.sha256)]


def test_the_beginning_of_a_checksum_is_compared(fetched, monkeypatch):
    entry = CATALOG["deit-b16"]
    with pytest.raises(WeightsError, match=r"has SHA-256 .* that of deit-b16 begins with b5f2ef4d"):
        locate("deit-b16")
    digest = hashlib.sha256((cache_folder() / name_for(entry.url)).read_bytes()).hexdigest()
    monkeypatch.setitem(CATALOG, "deit-b16", replace(entry, sha256_start=digest[:8]))
    monkeypatch.setattr(sources, "cached", lambda url, name, *, sha256: cache_folder() / name)
    assert locate("deit-b16").normalization == IMAGENET


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("https://host/x.pth", "https://host/x.pth"),
        ("hf:owner/repo", "https://huggingface.co/owner/repo/resolve/main/model.safetensors"),
    ],
)
def test_addresses_and_repositories_are_fetched(fetched, source, url):
    assert read_image_weights(source)["norm.weight"].ndim == 1
    assert fetched == [(url, None)]


@pytest.mark.parametrize(
    ("source", "rest"),
    [
        ("hf:a/b-1.5@v2", "a/b-1.5/resolve/v2/model.safetensors"),
        ("hf:a/b/folder/x.bin", "a/b/resolve/main/folder/x.bin"),
        ("hf:a/b.c@0f1e/x.safetensors", "a/b.c/resolve/0f1e/x.safetensors"),
    ],
)
def test_repositories_have_revisions_and_files(source, rest, monkeypatch):
    assert hf_address(source) == f"https://huggingface.co/{rest}"
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert hf_address(source) == f"https://mirror.example/{rest}"


@pytest.mark.parametrize("source", ["hf:repo", "hf:a/b@", "hf:a//b", "hf:a/b?x", "hf:"])
def test_a_malformed_repository_raises(source):
    with pytest.raises(WeightsError, match="must be hf:owner/repo"):
        locate(source)


def test_models_of_the_zoo_are_fetched_from_where_the_index_says(fetched, monkeypatch, tmp_path):
    write_zoo(monkeypatch, tmp_path)
    found = locate("mmpretrain::vit-tiny_in1k")
    assert fetched == [("https://host/vit-tiny_20220101-0a1b2c3d.pth", None)]
    assert found.normalization == CLIP


def test_a_zoo_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"mmpretrain, which is not installed.*optional.txt"):
        locate(f"{mmpretrain.SCHEME}vit-base")


def test_a_path_is_taken_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "x.pth").touch()
    monkeypatch.chdir(tmp_path)
    assert locate("x.pth").path.name == "x.pth"
    assert locate("x.pth").normalization is None


def test_nothing_of_the_kind_raises_naming_what_there_is(tmp_path):
    with pytest.raises(WeightsError, match=r"neither a file nor .*clip-vit-b16-openai.*hf:owner"):
        locate(str(tmp_path))
