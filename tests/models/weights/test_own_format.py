"""Converted weights: read again as they were, with what no tensor tells."""

import json

import pytest
import torch
from mmengine.registry import init_default_scope
from safetensors.torch import save_file

from amflow_mm.errors import WeightsError
from amflow_mm.models.backbones import ImageViT
from amflow_mm.models.weights import (
    LoadedWeights,
    load_image_weights,
    read_image_weights,
    read_source,
    save_image_weights,
)
from amflow_mm.models.weights.normalization import CLIP
from amflow_mm.testing import fixed_init_
from tests.models.tiny import PATCH, SIZE
from tests.models.weights.foreign_models import SIDE, OpenAIClip


@pytest.fixture
def converted(tmp_path):
    torch.save(fixed_init_(OpenAIClip()).state_dict(), tmp_path / "clip.pt")
    state = read_image_weights(str(tmp_path / "clip.pt"))
    weights = LoadedWeights(state, CLIP, "quick_gelu")
    save_image_weights(weights, tmp_path / "x.safetensors", source="clip.pt")
    return tmp_path / "x.safetensors"


def make(**options):
    init_default_scope("amflow_mm")
    return ImageViT(SIZE, family="clip", image_size=SIDE * PATCH, **options)


def test_what_was_written_is_read(converted):
    found = read_source(str(converted))
    expected = read_image_weights(str(converted.parent / "clip.pt"))
    assert found.normalization == CLIP
    assert found.activation == "quick_gelu"
    assert found.state.keys() == expected.keys()
    assert all(torch.equal(found.state[name], expected[name]) for name in expected)
    assert sorted(path.name for path in converted.parent.iterdir()) == ["clip.pt", "x.safetensors"]


def test_the_activation_is_compared(converted):
    assert load_image_weights(make(), str(converted)) == CLIP
    with pytest.raises(WeightsError, match="activation='quick_gelu', the backbone has 'gelu'"):
        load_image_weights(make(activation="gelu"), str(converted))


def test_files_without_metadata_are_read(tmp_path):
    save_file(fixed_init_(make()).state_dict(), tmp_path / "x.safetensors")
    found = read_source(str(tmp_path / "x.safetensors"))
    assert (found.normalization, found.activation) == (None, None)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"mean": [1], "std": [1]}), '{"mean": 1}'])
def test_damaged_metadata_raise(tmp_path, text):
    state = fixed_init_(make()).state_dict()
    text = text if text != '{"mean": 1}' else '{"mean": 1, "std": 1}'
    save_file(state, tmp_path / "x.safetensors", {"amflow_mm": text})
    with pytest.raises(WeightsError, match=r"metadata amflow_mm=.* is damaged"):
        read_source(str(tmp_path / "x.safetensors"))


def test_another_suffix_raises(tmp_path):
    with pytest.raises(ValueError, match=r"must end in .safetensors"):
        save_image_weights(LoadedWeights({}), tmp_path / "x.pth", source="x")


def test_a_write_that_fails_keeps_what_was_there(converted, monkeypatch):
    before = converted.read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("amflow_mm.models.weights.own_format.save_file", fail)
    with pytest.raises(OSError, match="No space left"):
        save_image_weights(LoadedWeights({}), converted, source="x")
    assert converted.read_bytes() == before
    assert len(list(converted.parent.iterdir())) == 2
