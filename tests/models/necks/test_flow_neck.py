"""What all necks share: two steps that equal one call, aligners, weights of mean 1."""

import pytest
import torch
from mmengine.registry import init_default_scope

from amflow_mm.models.backbones import AMFlowViT, ImageViT
from amflow_mm.models.necks import AMFlow, FeatureFlow, FlowNeck, ShuffledFlow, UniformFlow
from amflow_mm.models.necks.flow_neck import mean_one
from amflow_mm.testing import fixed_tensor
from tests.models.tiny import (
    ENCODER,
    GRID,
    HEADS,
    VIT,
    B,
    C,
    P,
    T,
    adapter,
    clips_of,
    fixed,
    static_clips,
)

AFFINE = {"type": "AffineAligner"}
NECKS = {
    "AMFlow": lambda **options: AMFlow(**options),
    "AMFlow softmax": lambda **options: AMFlow(normalize="softmax", **options),
    "AMFlow row, per head": lambda **options: AMFlow(
        normalize="row", average_heads="after", **options
    ),
    "FeatureFlow": lambda **options: FeatureFlow(**options),
}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


def inputs_of(num_prefix=1):
    shape = (B, T, HEADS, num_prefix + P, C // HEADS)
    q, k = fixed_tensor(shape, tag="q", scale=2.0), fixed_tensor(shape, tag="k", scale=2.0)
    return q, k, fixed_tensor((B, T, num_prefix + P, C), tag="x")


def flow_of(neck, clips):
    """The flow of all blocks; without adapters, in which frames would meet."""
    return fixed(ImageViT(**VIT)).eval()(clips, neck, return_flow=True).flow


@pytest.mark.parametrize("num_prefix", [1, 3])
@pytest.mark.parametrize("aligner", [None, AFFINE, ENCODER])
@pytest.mark.parametrize("name", NECKS)
def test_measuring_and_finishing_equal_the_direct_call(name, aligner, num_prefix):
    neck = fixed(NECKS[name](aligner=aligner))
    q, k, x = inputs_of(num_prefix)
    measured = neck.measure(q, k, x, 1, GRID)
    found = neck.finish(measured, x[:, :, num_prefix:], 1, GRID)
    assert torch.equal(found, neck(q, k, x, 1, GRID))
    assert (measured is None) == (neck.measurement() is None)
    torch.testing.assert_close(found.mean(dim=-1), torch.ones(B, T))
    assert torch.equal(found[:, -1], found[:, -2])
    assert (found >= 0).all()
    assert found.std() > 0.01


@pytest.mark.parametrize("aligner", [None, AFFINE, ENCODER])
@pytest.mark.parametrize("name", NECKS)
def test_a_static_clip_has_flow_one_everywhere(name, aligner):
    neck = NECKS[name](aligner=aligner)
    flow = flow_of(neck, static_clips())
    torch.testing.assert_close(flow, torch.ones_like(flow))
    assert flow_of(neck, clips_of()).std() > 0.01


@pytest.mark.parametrize("name", NECKS)
def test_frame_t_touches_the_flow_at_t_and_before_it_alone(name):
    neck, clips = NECKS[name](), clips_of()
    before = flow_of(neck, clips)
    changed = clips.clone()
    changed[1, :, 2] += fixed_tensor(clips.shape[-2:], tag="change")
    moved = (flow_of(neck, changed) - before).abs().amax(dim=(1, 3))
    assert (moved[1, 1:3] > 1e-3).all()
    moved[1, 1:3] = 0
    assert moved.max() < 1e-4


def test_a_shared_aligner_serves_every_block():
    neck = fixed(AMFlow(aligner=ENCODER))
    inputs = inputs_of()
    assert torch.equal(neck(*inputs, 0, GRID), neck(*inputs, 11, GRID))


def test_aligners_of_single_blocks_are_different_ones():
    shared, single = (
        FeatureFlow(aligner=ENCODER),
        FeatureFlow(aligner=ENCODER, aligner_layers=[0, 2]),
    )
    count = [sum(p.numel() for p in neck.parameters()) for neck in (shared, single)]
    assert count[1] == 2 * count[0] > 0
    fixed(single)
    inputs = inputs_of()
    assert not torch.allclose(single(*inputs, 0, GRID), single(*inputs, 2, GRID))


@pytest.mark.parametrize("neck", [AMFlow, FeatureFlow])
def test_a_block_without_aligner_raises(neck):
    neck = neck(aligner=ENCODER, aligner_layers=[0, 2])
    with pytest.raises(ValueError, match=r"aligner_layers=\[0, 2\] lacks block 1"):
        neck(*inputs_of(), 1, GRID)


def test_blocks_without_adapters_need_no_aligner():
    model = AMFlowViT(adapter(), adapter_layers=[1], **VIT)
    model(clips_of(), AMFlow(aligner=ENCODER, aligner_layers=[1]))


@pytest.mark.parametrize("neck", [AMFlow, FeatureFlow])
def test_aligning_changes_the_flow_and_observes_detached_tokens(neck):
    q, k, x = inputs_of()
    x.requires_grad_(True)
    moving = fixed(neck(aligner=ENCODER))
    w = moving(q.requires_grad_(True), k, x, 0, GRID)
    assert not torch.allclose(w, neck()(q, k, x, 0, GRID))
    w.square().sum().backward()
    assert x.grad is None
    assert q.grad is None
    assert all(p.grad is not None for p in moving.parameters())


def test_the_aligner_is_declared_by_itself():
    static, moving = AMFlow(), AMFlow(aligner=ENCODER)
    assert static.state_dict() == {}
    assert moving.aligner.adapter_params() == [
        name for name, _ in moving.aligner.named_parameters()
    ]
    assert {name.split(".")[0] for name in moving.state_dict()} == {"aligner"}


def test_measurements_are_described_by_what_they_depend_on():
    """Equal descriptions mean that one kept flow serves both."""
    usual = AMFlow().measurement()
    assert AMFlow().measurement() == usual
    assert ShuffledFlow({"type": "AMFlow"}).measurement() == usual
    for options in (
        {"temperature": 1.0},
        {"normalize": "row"},
        {"source": "pre"},
        {"average_heads": "after"},
        {"aligner": AFFINE},
    ):
        assert AMFlow(**options).measurement() != usual, options


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("window_radius", 2),
        ("temperature", 0.1),
        ("prior", 0.1),
        ("num_iterations", 2),
        ("inlier_distance", 1.0),
        ("ridge", 0.1),
    ],
)
def test_measurements_differ_by_the_options_of_the_aligner(option, value):
    usual = AMFlow(aligner=AFFINE)
    other = AMFlow(aligner={**AFFINE, option: value})
    assert usual.measurement() != other.measurement()


def test_scaling_to_mean_one_by_hand():
    amount = torch.tensor([[1.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert mean_one(amount).tolist() == [[1.0, 3.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]


@pytest.mark.parametrize("neck", [UniformFlow, FeatureFlow, AMFlow])
def test_necks_are_flow_modules(neck):
    assert isinstance(neck(), FlowNeck)
