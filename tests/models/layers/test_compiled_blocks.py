"""Compiled blocks: the same results and checkpoints, and no compilation for each layer or batch."""

import copy
import shutil

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn
from torch._dynamo.utils import counters

from amflow_mm.models.backbones import AMFlowSideViT, AMFlowViT
from amflow_mm.models.necks import AMFlow
from amflow_mm.models.peft import freeze_except
from amflow_mm.testing import fixed_tensor
from tests.models.tiny import B, clips_of, fixed, in_block, side

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("own_checks_only"),  # the compiler cannot trace those of the test run
    pytest.mark.skipif(
        not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler"
    ),
    pytest.mark.filterwarnings("ignore"),  # of the compiler's own making
]


@pytest.fixture(autouse=True)
def _fresh_compiler():
    init_default_scope("amflow_mm")
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def make(kind, compile_blocks, **options):
    config = {**(in_block() if kind is AMFlowViT else side()), **options}
    config.pop("type")
    model = nn.ModuleDict(
        {"backbone": fixed(kind(compile_blocks=compile_blocks, **config)), "neck": AMFlow()}
    )
    freeze_except(model)
    return model


def step(model, num_clips=B):
    model.zero_grad()
    features = model["backbone"](clips_of(num_clips), model["neck"]).features
    (features * fixed_tensor(features.shape, tag="loss")).sum().backward()
    return [features.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("family", ["clip", "dinov2"])
@pytest.mark.parametrize("kind", [AMFlowViT, AMFlowSideViT])
def test_features_and_gradients_are_those_of_plain_blocks(kind, family):
    plain, compiled = (make(kind, is_compiled, family=family) for is_compiled in (False, True))
    expected, found = step(plain), step(compiled)
    assert counters["stats"]["unique_graphs"] > 0
    assert len(found) == len(expected)
    # Beside the ladder tokens are kept in half precision, whose last digit may tip over.
    tolerance = {"rtol": 1e-4, "atol": 1e-5 if kind is AMFlowViT else 5e-4}
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)
    with torch.no_grad():
        torch.testing.assert_close(
            compiled["backbone"](clips_of(), compiled["neck"]).features,
            plain["backbone"](clips_of(), plain["neck"]).features,
            **tolerance,
        )


def test_other_batches_and_layers_compile_nothing_anew():
    model = make(AMFlowViT, True)
    step(model, 2)
    first = counters["stats"]["unique_graphs"]
    assert 0 < first <= 4  # attention without and with a gradient, feed-forward, one token of it
    for num_clips in (3, 4, 7, 5, 11):
        step(model, num_clips)
    assert counters["stats"]["unique_graphs"] == first


def test_checkpoints_and_copies_know_nothing_of_it():
    plain, compiled = make(AMFlowViT, False), make(AMFlowViT, True)
    step(compiled)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    copied = copy.deepcopy(compiled)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
    assert copied["backbone"](clips_of(), copied["neck"]).features.abs().max() == 0
    assert compiled["backbone"](clips_of(), compiled["neck"]).features.abs().max() > 0


def test_checkpointed_blocks_may_be_compiled():
    plain, compiled = (make(AMFlowViT, c, use_checkpoint=c) for c in (False, True))
    for ours, theirs in zip(step(compiled), step(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
