"""The controls: feature difference, no motion, motion in the wrong place."""

import pytest
import torch
from mmengine.registry import init_default_scope

from amflow_mm.models.necks import AMFlow, FeatureFlow, ShuffledFlow, UniformFlow
from amflow_mm.testing import fixed_tensor
from tests.models.tiny import ENCODER, GRID, HEADS, B, C, P, T


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


def inputs_of(num_prefix=1):
    shape = (B, T, HEADS, num_prefix + P, C // HEADS)
    q, k = fixed_tensor(shape, tag="q"), fixed_tensor(shape, tag="k")
    return q, k, fixed_tensor((B, T, num_prefix + P, C), tag="x")


@pytest.mark.parametrize("num_prefix", [1, 3])
def test_the_feature_flow_by_hand(num_prefix):
    q, k, x = inputs_of(num_prefix)
    found = FeatureFlow()(q, k, x, 0, GRID)
    for b in range(B):
        for t in range(T - 1):
            change = (x[b, t] - x[b, t + 1])[num_prefix:].square().sum(dim=-1).sqrt()
            torch.testing.assert_close(found[b, t], change * P / change.sum())
    assert torch.equal(found[:, -1], found[:, -2])


def test_the_feature_flow_follows_the_camera():
    """Tokens that move by one column are told apart from a token that moves on its own."""

    class Pan(torch.nn.Module):
        def forward(self, x, grid):
            step = torch.eye(P).view(*grid, P).roll(-1, dims=1).view(P, P)
            return step.expand(len(x), x.shape[1] - 1, P, P)

    x = fixed_tensor((1, 1, *GRID, C), tag="scene")
    clip = torch.cat([x, x.roll(1, dims=3)], dim=1).flatten(2, 3)
    clip[0, 1, 4] += 3.0
    neck = FeatureFlow()
    assert (neck.finish(None, clip, 0, GRID) > 0.1).all()
    neck.aligner = Pan()
    w = neck.finish(None, clip, 0, GRID)[0, 0]
    assert w.argmax() == 3  # the patch that column 1 of the second row came from
    torch.testing.assert_close(w, torch.eye(P)[3] * P)


def test_the_feature_flow_keeps_full_precision_where_it_subtracts():
    x = fixed_tensor((1, 1, P, C), tag="x", scale=10.0).expand(1, T, P, C)
    neck = FeatureFlow(aligner=ENCODER)
    with torch.autocast("cpu", torch.bfloat16):
        w = neck.finish(None, x, 0, GRID)
    assert w.dtype == torch.float32
    assert torch.equal(w, torch.ones(1, T, P))


@pytest.mark.parametrize("aligner", [None, ENCODER])
def test_the_feature_flow_of_a_single_frame_raises(aligner):
    x = torch.zeros(1, 1, P, C)
    with pytest.raises(ValueError, match="num_frames=1 must be >= 2"):
        FeatureFlow(aligner=aligner).finish(None, x, 0, GRID)


def test_the_uniform_flow_is_one():
    w = UniformFlow()(*inputs_of(), 0, GRID)
    assert torch.equal(w, torch.ones(B, T, P))


@pytest.mark.parametrize("inner", ["AMFlow", "FeatureFlow"])
def test_the_shuffled_flow_holds_the_same_values_elsewhere(inner):
    inputs = inputs_of()
    expected = {"AMFlow": AMFlow, "FeatureFlow": FeatureFlow}[inner]()(*inputs, 0, GRID)
    found = ShuffledFlow({"type": inner})(*inputs, 0, GRID)
    assert torch.equal(found.sort(dim=-1).values, expected.sort(dim=-1).values)
    moved = (found != expected).any(dim=-1)
    assert moved.float().mean() > 0.8  # one order in 720 is the old one


def test_the_shuffled_flow_draws_anew_for_every_frame_and_call():
    amount = torch.arange(1.0, P + 1)[:, None] * torch.ones(P, C)
    x = torch.stack([amount * t for t in range(12)])[None]
    neck = ShuffledFlow({"type": "FeatureFlow"})
    first, second = (neck.finish(None, x, 0, GRID) for _ in range(2))
    assert not torch.equal(first, second)
    assert len({tuple(frame) for frame in first[0].tolist()}) > 6
    torch.manual_seed(3)
    third = neck.finish(None, x, 0, GRID)
    torch.manual_seed(3)
    assert torch.equal(neck.finish(None, x, 0, GRID), third)


def test_the_shuffled_flow_hands_its_aligner_on():
    neck = ShuffledFlow({"type": "AMFlow", "aligner": ENCODER})
    assert neck.measurement() == neck.flow.measurement()
    assert all(name.startswith("flow.aligner.") for name in neck.state_dict())
