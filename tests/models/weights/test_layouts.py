"""Foreign checkpoints through our converters give what the foreign models give."""

import pytest
import torch
from torch import nn

from amflow_mm.models.backbones import ImageViT
from amflow_mm.models.weights import dinov2, openai_clip, timm
from amflow_mm.models.weights.loading import LAYOUTS
from amflow_mm.testing import fixed_init_, fixed_tensor
from tests.models.tiny import PATCH, SIZE, C
from tests.models.weights.foreign_models import SIDE, OpenAIClip, PlainViT, in_chunks

CASES = {
    "openai_clip": (openai_clip, "clip", OpenAIClip, {}),
    "dinov2": (dinov2, "dinov2", PlainViT, {"is_dinov2": True}),
    "dinov2 with registers": (dinov2, "dinov2", PlainViT, {"is_dinov2": True, "num_registers": 4}),
    "dinov2 gated": (dinov2, "dinov2", PlainViT, {"is_dinov2": True, "is_gated": True}),
    "timm": (timm, "timm", PlainViT, {"is_dinov2": False}),
    "timm with registers": (
        timm,
        "timm",
        PlainViT,
        {"is_dinov2": False, "num_registers": 4, "has_cls_position": False},
    ),
}


def make_pair(name):
    _, family, build, options = CASES[name]
    theirs = fixed_init_(build(**options)).eval()
    size = SIZE | {"gated_mlp": options.get("is_gated", False)}
    ours = ImageViT(
        size,
        family=family,
        image_size=SIDE * PATCH,
        num_registers=options.get("num_registers", 0),
    ).eval()
    return ours, theirs


def frames_of(num=4):
    return fixed_tensor((num, 3, SIDE * PATCH, SIDE * PATCH), tag="frames")


@pytest.mark.parametrize("name", CASES)
def test_converted_weights_give_the_foreign_models_output(name):
    ours, theirs = make_pair(name)
    layout = CASES[name][0]
    state = theirs.state_dict()
    assert next(x for x in LAYOUTS.values() if x.KEYS.matches(state)) is layout
    ours.load_state_dict(layout.convert(state), strict=True)
    expected = theirs(frames_of())
    found = ours(frames_of().unflatten(0, (2, 2)).transpose(1, 2)).features
    assert expected.std() > 0.3
    torch.testing.assert_close(found.flatten(0, 1), expected, rtol=1e-4, atol=1e-5)


def test_chunked_blocks_are_the_same_blocks():
    _, theirs = make_pair("dinov2")
    state = theirs.state_dict()
    chunked = in_chunks(state)
    assert dinov2.KEYS.matches(chunked)
    assert "blocks.1.2.norm1.weight" in chunked
    found, expected = dinov2.convert(chunked), dinov2.convert(state)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_half_precision_becomes_single():
    _, theirs = make_pair("openai_clip")
    state = theirs.half().state_dict()
    converted = openai_clip.convert(state)
    assert {value.dtype for value in converted.values()} == {torch.float32}
    expected = state["visual.class_embedding"].float()
    assert torch.equal(converted["embedding.cls_token"].flatten(), expected)


@pytest.mark.parametrize("name", ["openai_clip", "dinov2"])
def test_converting_leaves_the_checkpoint_alone(name):
    _, theirs = make_pair(name)
    state = dict(theirs.state_dict())
    before = {key: value.clone() for key, value in state.items()}
    converted = CASES[name][0].convert(state)
    converted["embedding.patch_position"].zero_()
    assert state.keys() == before.keys()
    assert all(torch.equal(state[key], before[key]) for key in before)


@pytest.mark.parametrize("name", ["openai_clip", "dinov2"])
def test_an_entry_that_no_rule_knows_raises(name):
    _, theirs = make_pair(name)
    extra = {"openai_clip": "visual.attnpool.q_proj.weight", "dinov2": "blocks.0.ls3.gamma"}[name]
    state = dict(theirs.state_dict()) | {extra: torch.zeros(1)}
    with pytest.raises(ValueError, match=rf"1 entries .* fit no rule of .*, first \['{extra}'\]"):
        CASES[name][0].convert(state)


@pytest.mark.parametrize("name", ["openai_clip", "dinov2"])
def test_a_checkpoint_without_positions_raises(name):
    _, theirs = make_pair(name)
    state = {k: v for k, v in theirs.state_dict().items() if "pos" not in k}
    with pytest.raises(ValueError, match="no position embeddings"):
        CASES[name][0].convert(state)


def test_every_entry_of_a_gated_model_is_used():
    ours, theirs = make_pair("dinov2 gated")
    count = [
        sum(value.numel() for value in model.state_dict().values()) for model in (ours, theirs)
    ]
    assert count[0] == count[1] - C  # the mask token


def test_the_foreign_models_are_not_ours():
    for name in CASES:
        _, theirs = make_pair(name)
        assert not any(isinstance(module, ImageViT) for module in theirs.modules())
        assert any(isinstance(module, nn.Linear) for module in theirs.modules())
