"""Mean and deviation of the pixels follow the weights, or a warning says so."""

import warnings

import pytest
import torch
from mmengine.registry import init_default_scope

from amflow_mm.models.weights import PretrainedImageViT
from amflow_mm.models.weights.normalization import (
    CLIP,
    IMAGENET,
    INCEPTION,
    KNOWN,
    identify,
    warn_of_mismatch,
)
from amflow_mm.testing import fixed_init_
from tests.models.tiny import PREPROCESSOR, in_block, recognizer
from tests.models.weights.foreign_models import OpenAIClip, PlainViT


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.name)
def test_roundings_are_the_same_and_others_are_not(known):
    rounded = [round(value, 1) for value in known.mean], [round(value, 1) for value in known.std]
    assert identify(*rounded) is known
    assert [other for other in KNOWN if other.is_close(known.mean, known.std)] == [known]


def test_unknown_values_are_told_as_they_are():
    found = identify([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert "mean=(1.0, 2.0, 3.0)" in str(found)
    assert found not in KNOWN


@pytest.mark.parametrize(
    ("expected", "found"), [(CLIP, IMAGENET), (IMAGENET, CLIP), (INCEPTION, IMAGENET)]
)
def test_the_warning_names_both(expected, found):
    message = rf"'x' was trained with {expected.name}'s .*, but .* has {found.name}'s .* set mean="
    with pytest.warns(UserWarning, match=message):
        warn_of_mismatch("x", expected, found.mean, found.std)


# ---------------------------------------------------------------- through the recognizer


def build(tmp_path, foreign, family, pixels):
    torch.save(fixed_init_(foreign).state_dict(), tmp_path / "image.pth")
    backbone = in_block(family=family, pretrained=str(tmp_path / "image.pth"))
    preprocessor = dict(PREPROCESSOR, **pixels)
    from amflow_mm.models import AMFlowRecognizer

    head = {"type": "TemporalMeanHead", "num_classes": 4, "in_channels": 24}
    return AMFlowRecognizer(backbone, head, preprocessor, neck={"type": "AMFlow"})


def values(pixels):
    return {"mean": pixels.mean, "std": pixels.std}


@pytest.mark.parametrize(
    ("foreign", "family", "own", "other"),
    [
        (OpenAIClip, "clip", CLIP, IMAGENET),
        (lambda: PlainViT(is_dinov2=True), "dinov2", IMAGENET, CLIP),
    ],
)
def test_a_config_with_the_other_pixels_is_warned_of(tmp_path, foreign, family, own, other):
    model = build(tmp_path, foreign(), family, values(other))
    with pytest.warns(UserWarning, match=rf"image.pth' .* {own.name}'s .* has {other.name}'s"):
        model.init_weights()
    model = build(tmp_path, foreign(), family, values(own))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.init_weights()
    assert model.backbone.norm_pre is not None
    assert torch.equal(
        model.backbone.embedding.patch_embed.proj.weight,
        fixed_init_(foreign()).state_dict()[
            "visual.conv1.weight" if family == "clip" else "patch_embed.proj.weight"
        ],
    )


def test_weights_of_unknown_pixels_warn_of_nothing(tmp_path):
    model = build(tmp_path, PlainViT(is_dinov2=False), "timm", values(CLIP))
    model.init_weights()


def test_frames_that_are_not_normalised_are_warned_of(tmp_path):
    torch.save(fixed_init_(OpenAIClip()).state_dict(), tmp_path / "image.pth")
    model = recognizer(in_block(family="clip", pretrained=str(tmp_path / "image.pth")),
                       {"type": "AMFlow"})  # fmt: skip
    model.data_preprocessor = torch.nn.Identity()
    with pytest.warns(UserWarning, match=r"has nobody's \(mean=\(0.0, 0.0, 0.0\)"):
        model.init_weights()


def test_a_backbone_without_pretrained_weights_is_left_alone():
    model = recognizer(in_block(), {"type": "AMFlow"})
    model.init_weights()
    assert model.backbone.init_cfg is None


@pytest.mark.parametrize("given", ["mean", "std"])
def test_mean_and_deviation_come_together(given):
    with pytest.raises(ValueError, match="must be given together"):
        PretrainedImageViT("x", **{given: (1.0, 1.0, 1.0)})
