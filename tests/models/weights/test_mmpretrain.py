"""mmpretrain's model zoo by name."""

import importlib.util

import pytest
import torch

from amflow_mm.errors import WeightsError
from amflow_mm.models.weights import mmpretrain
from amflow_mm.models.weights.mmpretrain import find_in_zoo
from amflow_mm.models.weights.normalization import CLIP, IMAGENET, INCEPTION
from tests.models.weights.zoo import write_zoo


@pytest.mark.parametrize("name", ["ViT-tiny_in1k", "vit-tiny_in1k"])
def test_a_model_is_found_whatever_the_case(monkeypatch, tmp_path, name):
    write_zoo(monkeypatch, tmp_path)
    found = find_in_zoo(name)
    assert found.url == "https://host/vit-tiny_20220101-0a1b2c3d.pth"
    assert found.normalization == CLIP


def test_a_config_without_normalisation_says_nothing(monkeypatch, tmp_path):
    write_zoo(monkeypatch, tmp_path)
    assert find_in_zoo("vit-plain").normalization is None


def test_a_misspelt_model_raises_with_the_nearest(monkeypatch, tmp_path):
    write_zoo(monkeypatch, tmp_path)
    with pytest.raises(WeightsError, match=r"'mmpretrain::vit-tinny_in1k' .* mean vit-tiny_in1k"):
        find_in_zoo("vit-tinny_in1k")
    with pytest.raises(WeightsError, match=r"see .*model-index.yml"):
        find_in_zoo("zzz")


def test_a_model_without_weights_raises(monkeypatch, tmp_path):
    write_zoo(monkeypatch, tmp_path)
    with pytest.raises(WeightsError, match="publishes no weights"):
        find_in_zoo("vit-untrained")


def test_a_package_without_an_index_raises(monkeypatch, tmp_path):
    write_zoo(monkeypatch, tmp_path)
    (tmp_path / "mmpretrain" / ".mim" / "model-index.yml").unlink()
    with pytest.raises(WeightsError, match=r"has no model-index.yml"):
        find_in_zoo("vit-plain")


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("vit-base-p14_dinov2-pre_3rdparty", IMAGENET),
        ("mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k", IMAGENET),
        ("vit-base-p16_in21k-pre_3rdparty_in1k-384px", INCEPTION),
        # Its config has ImageNet's values, with which CLIP was not trained.
        ("vit-base-p16_clip-openai-pre_3rdparty_in1k", None),
    ],
)
def test_the_real_index_is_read(name, pixels):
    if importlib.util.find_spec("mmpretrain") is None:
        pytest.skip("mmpretrain is not installed (requirements/optional.txt)")
    found = find_in_zoo(name)
    assert found.url.startswith("https://")
    assert found.url.endswith(".pth")
    assert found.normalization == pixels


def test_necks_and_heads_are_left_out():
    foreign = {"neck.mask_token": torch.zeros(1), "head.fc.weight": torch.zeros(1)}
    assert mmpretrain.KEYS.rename(foreign) == {}
