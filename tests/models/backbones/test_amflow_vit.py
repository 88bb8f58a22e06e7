"""In-block adaptation: identity at the start, the exact gradient set, flow, precision, errors."""

import logging
import re

import pytest
import torch
from mmengine.registry import init_default_scope
from torch import nn

from amflow_mm.apis.complexity import build_on_meta
from amflow_mm.models.backbones import AMFlowViT, ImageViT, amflow_vit
from amflow_mm.models.necks import AMFlow, FeatureFlow, UniformFlow
from amflow_mm.models.peft import freeze_except
from tests.config_files import NAMES, load
from tests.models.tiny import (
    DEPTH,
    ENCODER,
    FAMILIES,
    UNITS,
    VIT,
    B,
    C,
    P,
    T,
    adapter,
    clips_of,
    fixed,
    names_with_gradient,
    trainable_names,
    with_image_weights,
)

MLP_ADAPTER = {"type": "Adapter", "bottleneck_dim": 10}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


def make(adapter_cfg=None, **options):
    return AMFlowViT(adapter_cfg or adapter(), **{**VIT, **options})


class Probe(nn.Module):
    """Backbone and neck, frozen but for what they declare, and a loss that sees every feature."""

    def __init__(self, backbone, neck):
        super().__init__()
        self.backbone, self.neck = backbone, neck
        freeze_except(self)

    def backward(self):
        self.zero_grad()
        features = self.backbone(clips_of(), self.neck).features
        weights = torch.linspace(-1, 1, features.numel()).view_as(features).sin()
        (features * weights).sum().backward()
        return self

    def step(self):
        with torch.no_grad():
            for parameter in self.parameters():
                if parameter.grad is not None:
                    parameter -= 0.1 * parameter.grad
        return self


# ---------------------------------------------------------------- identity at the start


@pytest.mark.parametrize("is_training", [False, True])
@pytest.mark.parametrize("aligner", [None, ENCODER])
@pytest.mark.parametrize("family", FAMILIES)
def test_fresh_adapters_leave_the_image_model_alone_to_the_bit(family, aligner, is_training):
    image = fixed(ImageViT(**{**VIT, "family": family}))
    model = with_image_weights(make(mlp_adapter=MLP_ADAPTER, family=family), image)
    model.train(is_training)
    image.train(is_training)
    found = model(clips_of(), AMFlow(aligner=aligner)).features
    assert torch.equal(found, image(clips_of()).features)
    for t in range(T):
        frame = image(clips_of()[:, :, t : t + 1]).features[:, 0]
        torch.testing.assert_close(found[:, t], frame)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("pooling", ["global", "token"])
@pytest.mark.parametrize("flow_as", ["gain", "feature", "both"])
def test_every_kind_of_adapter_starts_silent_and_then_speaks(unit, pooling, flow_as):
    image = fixed(ImageViT(**VIT)).eval()
    model = make(adapter(unit, pooling=pooling, flow_as=flow_as, num_frames=T))
    with_image_weights(model, image).eval()
    expected = image(clips_of()).features
    assert torch.equal(model(clips_of(), AMFlow()).features, expected)
    nn.init.normal_(model.blocks[DEPTH - 1].after_attention.up.weight, std=0.5)
    assert (model(clips_of(), AMFlow()).features - expected).abs().max() > 0.01


def test_the_matrices_that_start_at_zero_are_those_that_lead_out():
    model = make(adapter(flow_as="both"), mlp_adapter=MLP_ADAPTER)
    silent = {n for n, p in model.named_parameters() if n.endswith("weight") and not p.any()}
    assert silent == {
        f"blocks.{layer}.{slot}.up.weight"
        for layer in range(DEPTH)
        for slot in ("after_attention", "beside_mlp")
    }


# ---------------------------------------------------------------- gradients


def test_static_camera_trains_adapters_and_final_norm_alone():
    model = Probe(fixed(make(mlp_adapter=MLP_ADAPTER)), AMFlow())
    declared = trainable_names(model)
    beside_adapters = {
        name for name in declared if not re.search("after_attention|beside_mlp", name)
    }
    assert beside_adapters == {"backbone.norm.weight", "backbone.norm.bias"}
    assert names_with_gradient(model.backward()) == declared
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


@pytest.mark.parametrize("warp", ["dense", "window", "affine"])
def test_moving_camera_trains_the_aligner_too(warp):
    model = Probe(fixed(make()), fixed(AMFlow(aligner={**ENCODER, "warp": warp})))
    assert any(name.startswith("neck.aligner.") for name in trainable_names(model))
    assert names_with_gradient(model.backward()) == trainable_names(model)


def test_aligners_of_single_blocks_are_all_trained():
    neck = fixed(AMFlow(aligner=ENCODER, aligner_layers=range(DEPTH)))
    model = Probe(fixed(make()), neck)
    assert names_with_gradient(model.backward()) == trainable_names(model)


@pytest.mark.parametrize("unit", UNITS)
def test_after_two_steps_every_adapter_weight_has_moved(unit):
    backbone = make(adapter(unit, flow_as="both", num_frames=T), readout="patch")
    model = Probe(with_image_weights(backbone, fixed(ImageViT(**VIT))), AMFlow())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = names_with_gradient(model.backward())
    assert {name.split(".after_attention.")[-1] for name in first if "after" in name} == {
        "up.weight",
        "up.bias",
    }
    model.step().backward().step()
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert moved == trainable_names(model)


def test_the_aligner_learns_once_the_adapters_speak():
    neck = AMFlow(aligner=ENCODER)
    model = Probe(with_image_weights(make(), fixed(ImageViT(**VIT))), neck)
    assert not any("aligner" in name for name in names_with_gradient(model.backward()))
    names = names_with_gradient(model.step().backward())
    assert {name for name in names if "aligner" in name} == {
        "neck.aligner.affine.weight",
        "neck.aligner.affine.bias",
    }


# ---------------------------------------------------------------- what a CLS readout cannot teach

LAST = f"backbone.blocks.{DEPTH - 1}.after_attention."
EVERY_ADAPTER = pytest.mark.parametrize(
    ("unit", "pooling", "flow_as"),
    [(u, p, f) for u in UNITS for p in ("global", "token") for f in ("gain", "feature", "both")],
)


@pytest.fixture
def warned(monkeypatch):
    """Collect what the backbone says while it is built."""
    messages = []
    monkeypatch.setattr(amflow_vit, "print_log", lambda text, **options: messages.append(text))
    return messages


def silent_names(backbone, neck):
    model = Probe(fixed(backbone), fixed(neck))
    return trainable_names(model) - names_with_gradient(model.backward())


@EVERY_ADAPTER
def test_the_warning_names_exactly_what_gets_no_gradient(unit, pooling, flow_as, warned):
    model = make(adapter(unit, pooling=pooling, flow_as=flow_as, num_frames=T), num_registers=2)
    silent = silent_names(model, AMFlow())
    assert len(warned) == bool(silent)
    assert bool(silent) == (pooling == "token" or flow_as == "both")
    named = tuple(LAST + part for part in re.findall(r"bottleneck\.\w+", " ".join(warned)))
    declared = {f"backbone.{name}" for name, _ in model.named_parameters()}
    assert silent == {name for name in declared if name.startswith(named)}


@EVERY_ADAPTER
@pytest.mark.parametrize("remedy", [{"readout": "patch"}, {"adapter_layers": range(DEPTH - 1)}])
def test_either_remedy_teaches_everything(unit, pooling, flow_as, remedy, warned):
    cfg = adapter(unit, pooling=pooling, flow_as=flow_as, num_frames=T)
    assert silent_names(make(cfg, **remedy), AMFlow()) == set()
    assert warned == []


def test_the_flow_of_the_last_block_cannot_matter_to_cls_with_token_pooling(warned):
    neck = AMFlow(aligner=ENCODER, aligner_layers=range(DEPTH))
    silent = silent_names(make(adapter(pooling="token")), neck)
    aligners = {name for name in silent if name.startswith("neck.")}
    assert {name.split(".")[2] for name in aligners} == {str(DEPTH - 1)}
    assert len(warned) == 1


def test_the_warning_says_what_to_do(warned):
    make(adapter(pooling="token", flow_as="both"))
    assert re.fullmatch(
        r"readout='cls' reads no patch and no block follows block 2, so that of its adapter "
        r"bottleneck.unit, bottleneck.temporal_position, bottleneck.flow_feature will not learn; "
        r"set readout='patch', leave block 2 out of adapter_layers, or .* pooling='global' .*",
        warned[0],
    )


def test_the_warning_is_one_of_the_log():
    options = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(amflow_vit, "print_log", lambda _, **given: options.append(given))
        make(adapter(pooling="token"))
    assert options == [{"logger": "current", "level": logging.WARNING}]


@pytest.mark.parametrize("name", NAMES)
def test_no_config_trains_what_cannot_learn(name, warned):
    build_on_meta(load(name))
    assert warned == []


# ---------------------------------------------------------------- where adapters stand


def test_no_gradient_enters_below_the_first_adapter():
    model = Probe(fixed(make(adapter_layers=[1])), AMFlow())
    seen = []
    for block in model.backbone.blocks:
        block.register_forward_pre_hook(lambda _, args: seen.append(args[0].requires_grad))
    model.backward()
    assert seen == [False, False, True]
    assert {name for name in trainable_names(model) if ".blocks." in name} == {
        name for name in names_with_gradient(model) if ".blocks.1.after_attention." in name
    }


def test_adapters_stand_in_the_chosen_blocks():
    model = make(adapter_layers=[2, 0], mlp_adapter=MLP_ADAPTER)
    for slot in ("after_attention", "beside_mlp"):
        filled = [getattr(block, slot) is not None for block in model.blocks]
        assert filled == [True, False, True]


def test_the_bottleneck_defaults_to_a_quarter_of_the_width():
    cfg = {"type": "TemporalAdapter", "unit": {"type": "TCNUnit"}}
    assert make(cfg).blocks[0].after_attention.down.out_features == C // 4
    assert cfg == {"type": "TemporalAdapter", "unit": {"type": "TCNUnit"}}


# ---------------------------------------------------------------- flow


def test_the_flow_of_every_block_is_returned_on_request():
    model = fixed(make(adapter_layers=[1])).eval()
    assert model(clips_of(), AMFlow()).flow is None
    output = model(clips_of(), AMFlow(), return_flow=True)
    assert output.flow.shape == (B, DEPTH, T, P)
    torch.testing.assert_close(output.flow.mean(dim=-1), torch.ones(B, DEPTH, T))
    assert output.flow.std(dim=-1).min() > 0.01
    assert torch.equal(output.features, model(clips_of(), AMFlow()).features)


def test_the_flow_is_asked_for_where_it_is_needed_alone():
    asked = []

    def flow(q, k, x, layer, grid):
        asked.append((layer, grid, q.shape, x.shape))
        return torch.ones(*x.shape[:2], grid[0] * grid[1])

    make(adapter_layers=[0, 2])(clips_of(), flow)
    shape_q, shape_x = (B, T, 3, 1 + P, C // 3), (B, T, 1 + P, C)
    assert asked == [(0, (2, 3), shape_q, shape_x), (2, (2, 3), shape_q, shape_x)]


def test_motion_changes_the_features():
    model = fixed(make()).eval()
    features = [model(clips_of(), neck).features for neck in (AMFlow(), FeatureFlow())]
    uniform = model(clips_of(), UniformFlow()).features
    for found in features:
        assert (found - uniform).abs().max() > 0.01


def test_frames_meet_in_the_adapters():
    model, clips = fixed(make()).eval(), clips_of()
    before = model(clips, AMFlow()).features
    changed = clips.clone()
    changed[0, :, 2] += 0.5
    moved = (model(changed, AMFlow()).features - before).abs().amax(dim=-1)
    assert (moved[0] > 1e-3).all()
    assert moved[1].max() < 1e-5


@pytest.mark.parametrize("grid", [(1, 2), (4, 3)])
@pytest.mark.parametrize("num_registers", [0, 2])
def test_other_resolutions_and_registers(grid, num_registers):
    model = fixed(make(num_registers=num_registers)).eval()
    clips = clips_of(rows=grid[0], columns=grid[1])
    output = model(clips, AMFlow(), return_flow=True)
    assert output.features.shape == (B, T, C)
    assert output.flow.shape == (B, DEPTH, T, grid[0] * grid[1])


def test_adapters_without_flow_raise():
    with pytest.raises(ValueError, match=r"flow=None.*give the recognizer a neck"):
        make()(clips_of())


def test_more_frames_than_the_adapter_knows_raise():
    with pytest.raises(ValueError, match="T=5 exceeds num_frames=4"):
        make(adapter(num_frames=T - 1))(clips_of(), AMFlow())


def test_a_single_frame_raises():
    with pytest.raises(ValueError, match="num_frames=1 must be >= 2"):
        make()(clips_of(num_frames=1), AMFlow())


def test_a_block_that_does_not_exist_raises():
    with pytest.raises(ValueError, match=r"adapter_layers=.* blocks from 0 to 2"):
        make(adapter_layers=[3])


# ---------------------------------------------------------------- precision and memory


@pytest.mark.parametrize("aligner", [None, {"type": "AffineAligner"}])
def test_half_precision_agrees(aligner):
    model, neck = fixed(make()).eval(), AMFlow(aligner=aligner)
    expected = model(clips_of(), neck, return_flow=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(clips_of(), neck, return_flow=True)
    assert found.flow.dtype == torch.float32
    assert not torch.equal(found.features, expected.features)
    error = (found.features.float() - expected.features).abs()
    assert error.mean() < 0.05 * expected.features.std()
    assert (found.flow - expected.flow).abs().mean() < 0.05


def test_half_precision_trains_the_same_set():
    model = Probe(fixed(make()), fixed(AMFlow(aligner=ENCODER)))
    with torch.autocast("cpu", torch.bfloat16):
        model.backward()
    assert names_with_gradient(model) == trainable_names(model)
    assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("aligner", [None, ENCODER])
def test_checkpointed_blocks_give_the_same_gradients(aligner):
    results = []
    for use_checkpoint in (False, True):
        neck = fixed(AMFlow(aligner=aligner))
        model = Probe(fixed(make(use_checkpoint=use_checkpoint)), neck).backward()
        results.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert results[0].keys() == results[1].keys()
    for name, expected in results[0].items():
        torch.testing.assert_close(results[1][name], expected, msg=name)


def test_checkpointing_spares_the_blocks_below_the_first_adapter(monkeypatch):
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional,
        "scaled_dot_product_attention",
        lambda q, k, v: calls.append(q.shape) or fused(q, k, v),
    )
    model = Probe(fixed(make(adapter_layers=[1, 2], use_checkpoint=True)), AMFlow())
    model.backward()
    assert len(calls) == DEPTH + 2


def test_drop_path_drops_adapter_and_attention_of_whole_clips():
    model = fixed(make(drop_path_rate=0.5)).train()
    clips = clips_of()[:1].expand(12, -1, -1, -1, -1)
    features = model(clips, AMFlow()).features
    distinct = {tuple(clip) for clip in features.flatten(1).round(decimals=3).tolist()}
    assert 2 < len(distinct) < 12
