"""The side ladder: identity at the start, no gradient into the ViT, what it reads and keeps."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from torch import nn

from amflow_mm.models.backbones import AMFlowSideViT, ImageViT
from amflow_mm.models.layers import attention_map_flow
from amflow_mm.models.necks import AMFlow, FeatureFlow, ShuffledFlow, UniformFlow
from amflow_mm.models.peft import freeze_except
from tests.models.tiny import (
    ENCODER,
    FAMILIES,
    GRID,
    UNITS,
    VIT,
    B,
    C,
    P,
    T,
    clips_of,
    fixed,
    names_with_gradient,
    trainable_names,
    with_image_weights,
)

R = 10


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


def make(unit="TCNUnit", unit_options=(), **options):
    options = {"layers": (0, 2), "side_dim": R, "num_frames": T, **VIT, **options}
    return AMFlowSideViT({"type": unit, **dict(unit_options)}, **options)


class Probe(nn.Module):
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
@pytest.mark.parametrize("neck", [AMFlow, FeatureFlow, UniformFlow])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_ladder_leaves_the_image_model_alone_to_the_bit(family, neck, is_training):
    image = fixed(ImageViT(**{**VIT, "family": family}))
    model = with_image_weights(make(family=family), image).train(is_training)
    image.train(is_training)
    assert torch.equal(model(clips_of(), neck()).features, image(clips_of()).features)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("pooling", ["global", "token"])
@pytest.mark.parametrize("flow_as", ["gain", "feature", "both"])
def test_every_kind_of_ladder_starts_silent_and_then_speaks(unit, pooling, flow_as):
    model = with_image_weights(
        make(unit, pooling=pooling, flow_as=flow_as), image := fixed(ImageViT(**VIT))
    )
    expected = image(clips_of()).features
    assert torch.equal(model(clips_of(), AMFlow()).features, expected)
    nn.init.normal_(model.side_up.weight)
    assert (model(clips_of(), AMFlow()).features - expected).abs().max() > 0.01


def test_the_matrix_that_starts_at_zero_leads_out():
    silent = {n for n, p in make().named_parameters() if n.endswith("weight") and not p.any()}
    assert silent == {"side_up.weight"}
    assert make(output="ladder").side_up.weight.any()


def test_the_ladder_alone_leaves_the_frozen_vector_out():
    image = fixed(ImageViT(**VIT))
    both, ladder = fixed(make()), fixed(make(output="ladder"))
    side = ladder(clips_of(), AMFlow()).features
    frozen = with_image_weights(image, nn.Module())(clips_of()).features
    torch.testing.assert_close(both(clips_of(), AMFlow()).features, frozen + side)
    assert side.abs().max() > 0.1


def test_the_frozen_model_alone_needs_no_flow_and_trains_nothing():
    model = with_image_weights(make(output="frozen"), image := fixed(ImageViT(**VIT)))
    assert torch.equal(model(clips_of()).features, image(clips_of()).features)
    assert freeze_except(model).trainable == 0


# ---------------------------------------------------------------- gradients

IMAGE_PARTS = ("backbone.embedding.", "backbone.blocks.", "backbone.norm")


@pytest.mark.parametrize("unit", UNITS)
def test_static_camera_trains_the_ladder_alone(unit):
    model = Probe(fixed(make(unit, flow_as="both", pooling="global")), AMFlow())
    declared = trainable_names(model)
    assert not any(name.startswith(IMAGE_PARTS) for name in declared)
    assert names_with_gradient(model.backward()) == declared
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


@pytest.mark.parametrize("neck", [AMFlow, FeatureFlow])
@pytest.mark.parametrize("warp", ["dense", "affine"])
def test_moving_camera_trains_the_aligner_too(neck, warp):
    model = Probe(fixed(make()), fixed(neck(aligner={**ENCODER, "warp": warp})))
    assert any(name.startswith("neck.aligner.") for name in trainable_names(model))
    assert names_with_gradient(model.backward()) == trainable_names(model)


def test_a_shuffled_flow_trains_the_aligner_inside():
    inner = {"type": "AMFlow", "aligner": ENCODER}
    model = Probe(fixed(make()), fixed(ShuffledFlow(inner)))
    assert names_with_gradient(model.backward()) == trainable_names(model)


def test_no_graph_reaches_into_the_frozen_model():
    model = fixed(make()).requires_grad_(True)
    inputs = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, args: inputs.append(args[0].requires_grad))
    clips = clips_of().requires_grad_(True)
    frozen = model.extract_frozen(clips, AMFlow())
    assert inputs == [False] * 3
    assert not any(value.requires_grad for value in frozen.values())


@pytest.mark.parametrize("is_grad_enabled", [False, True])
def test_the_callers_gradient_mode_is_left_alone(is_grad_enabled):
    neck = fixed(AMFlow(aligner=ENCODER))
    with torch.set_grad_enabled(is_grad_enabled):
        frozen = make().extract_frozen(clips_of(), neck)
        assert torch.is_grad_enabled() == is_grad_enabled
    assert frozen["flow"].requires_grad == is_grad_enabled
    assert not frozen["tokens"].requires_grad


@pytest.mark.parametrize("unit", UNITS)
def test_after_two_steps_every_weight_of_the_ladder_has_moved(unit):
    model = Probe(with_image_weights(make(unit), fixed(ImageViT(**VIT))), AMFlow())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = names_with_gradient(model.backward())
    assert first == {"backbone.side_up.weight", "backbone.side_up.bias"}
    model.step().backward().step()
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert moved == trainable_names(model)


# ---------------------------------------------------------------- what it reads


@pytest.mark.parametrize("num_registers", [0, 2])
def test_the_frozen_features_are_those_of_the_chosen_blocks(num_registers):
    model = fixed(make(num_registers=num_registers, layers=(2, 1))).eval()
    frozen = model.extract_frozen(clips_of(), AMFlow(normalize="row"))
    x, grid = model.embed(clips_of())
    tokens, flows = [], []
    for layer, block in enumerate(model.blocks):
        if layer in (1, 2):
            tokens.append(x[:, :, 1 + num_registers :].half())
            _, q, k = block.attn(block.norm1(x).flatten(0, 1))
            q, k = q.unflatten(0, (B, T)), k.unflatten(0, (B, T))
            flows.append(attention_map_flow(q, k, 1 + num_registers, normalize="row"))
        x, _ = block(x, grid)
    assert torch.equal(frozen["tokens"].flatten(3, 4), torch.stack(tokens, dim=1))
    assert frozen["tokens"].shape[3:5] == GRID
    torch.testing.assert_close(frozen["flow"], torch.stack(flows, dim=1))
    torch.testing.assert_close(frozen["vector"], model.norm(x)[:, :, 0])


@pytest.mark.parametrize("neck", [FeatureFlow, UniformFlow])
def test_necks_that_need_no_attention_leave_no_flow_to_keep(neck):
    frozen = make().extract_frozen(clips_of(), neck())
    assert frozen.keys() == {"vector", "tokens"}


@pytest.mark.parametrize("neck", [AMFlow, FeatureFlow, UniformFlow])
@pytest.mark.parametrize("output", ["sum", "ladder", "frozen"])
def test_frozen_features_give_what_the_clips_give(neck, output):
    model, flow = fixed(make(output=output)).eval(), neck()
    frozen = model.extract_frozen(clips_of(), flow)
    found, expected = model(frozen, flow), model(clips_of(), flow)
    assert torch.equal(found.features, expected.features)


@pytest.mark.parametrize("pooling", ["global", "token"])
def test_neither_half_reads_a_number_off_the_device(pooling):
    """A number read off a GPU is waited for; tensors on the meta device have none."""
    unit = {"spatial_size": 3} if pooling == "token" else {}
    with torch.device("meta"):
        model = make(unit_options=unit, pooling=pooling, flow_as="both")
        frozen = model.extract_frozen(torch.zeros(B, 3, T, 14, 21), neck := AMFlow())
        output = model(frozen, neck, return_flow=True)
    assert output.features.shape == (B, T, C)
    assert output.flow.shape == (B, 2, T, P)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("pooling", ["global", "token"])
def test_frozen_features_know_their_grid(pooling, rows):
    """Six patches in a row are not six in two rows."""
    unit = {"spatial_size": 3} if pooling == "token" else {}
    model = fixed(make(unit_options=unit, pooling=pooling, flow_as="both")).eval()
    clips, neck = clips_of(rows=rows, columns=6 // rows), AMFlow()
    found = model(model.extract_frozen(clips, neck), neck).features
    torch.testing.assert_close(found, model(clips, neck).features)


@pytest.mark.parametrize("flow_as", ["gain", "feature", "both"])
def test_the_ladder_of_frame_vectors_by_hand(flow_as):
    model = fixed(make("LSTMUnit", pooling="global", output="ladder", flow_as=flow_as)).eval()
    frozen, state = model.extract_frozen(clips_of(), AMFlow()), 0
    for index, rung in enumerate(model.rungs):
        x, w = frozen["tokens"][:, index].flatten(2, 3).float(), frozen["flow"][:, index]
        weight = torch.ones_like(w) if flow_as == "feature" else w
        pooled = (x * weight[..., None]).sum(dim=2) / weight.sum(dim=2, keepdim=True)
        g = rung.down(rung.norm(pooled)) + rung.temporal_position[:T]
        if flow_as != "gain":
            maps = torch.log2((1 + w) / 2).reshape(-1, 1, *GRID)
            coarse = F.adaptive_avg_pool2d(maps, 4).flatten(1)
            g = g + rung.flow_map[-1](coarse).reshape(B, T, -1)
        state, _ = rung.unit(state + g)
    expected = model.side_up(model.side_norm(state))
    torch.testing.assert_close(model(clips_of(), AMFlow()).features, expected)


def test_the_ladder_of_tokens_pools_by_motion():
    model = fixed(make(pooling="token", output="ladder")).eval()
    frozen, state = model.extract_frozen(clips_of(), AMFlow()), None
    for index, rung in enumerate(model.rungs):
        x, w = frozen["tokens"][:, index].flatten(2, 3).float(), frozen["flow"][:, index]
        h = F.gelu(rung.down(rung.norm(x))) * w[..., None]
        h = h if state is None else h + state
        position = rung.bottleneck.temporal_position[:T, None]
        state = rung.bottleneck.unit.mix_tokens(h + position, GRID)
    motion = frozen["flow"].mean(dim=1)[..., None]
    pooled = (state * motion).sum(dim=2) / motion.sum(dim=2)
    expected = model.side_up(model.side_norm(pooled))
    torch.testing.assert_close(model(clips_of(), AMFlow()).features, expected)


def test_a_flow_of_one_is_no_feature():
    model = fixed(make(pooling="global", output="ladder", flow_as="both"))
    maps = model.rungs[0].flow_map
    still = torch.log2((1 + torch.ones(1, 1, *GRID)) / 2)
    torch.testing.assert_close(maps(still)[0], maps[-1].bias)


def test_the_flow_of_the_chosen_blocks_is_returned_on_request():
    model = fixed(make()).eval()
    assert model(clips_of(), AMFlow()).flow is None
    output = model(clips_of(), AMFlow(), return_flow=True)
    assert output.flow.shape == (B, 2, T, P)
    assert torch.equal(output.flow, model.extract_frozen(clips_of(), AMFlow())["flow"])
    feature = model(clips_of(), FeatureFlow(), return_flow=True).flow
    torch.testing.assert_close(feature.mean(dim=-1), torch.ones(B, 2, T))


def test_batch_mates_do_not_matter():
    model, clips = fixed(make(output="ladder")).eval(), clips_of()
    together = model(clips, AMFlow()).features
    for b in range(B):
        alone = model(clips[b : b + 1], AMFlow()).features
        torch.testing.assert_close(together[b], alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("grid", [(1, 2), (4, 3)])
def test_other_resolutions(grid):
    clips = clips_of(rows=grid[0], columns=grid[1])
    output = fixed(make())(clips, AMFlow(), return_flow=True)
    assert output.features.shape == (B, T, C)
    assert output.flow.shape[-1] == grid[0] * grid[1]


def test_half_precision_agrees():
    model = fixed(make()).eval()
    expected = model(clips_of(), AMFlow()).features
    with torch.autocast("cpu", torch.bfloat16):
        found = model(clips_of(), AMFlow()).features
    error = (found.float() - expected).abs()
    assert 0 < error.mean() < 0.05 * expected.std()


@pytest.mark.parametrize("is_autocast", [False, True])
def test_the_frozen_model_computes_in_the_precision_of_its_own(is_autocast):
    plain, half = fixed(make()), fixed(make(frozen_dtype="bfloat16"))
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        found = {model: model.extract_frozen(clips_of(), AMFlow()) for model in (plain, half)}
    expected = plain.extract_frozen(clips_of(), AMFlow())
    for name, value in expected.items():
        assert torch.equal(found[plain][name], value)
        assert found[half][name].dtype == value.dtype
    error = (found[half]["vector"] - expected["vector"]).abs()
    assert 0 < error.mean() < 0.05 * expected["vector"].std()


def test_an_unknown_precision_raises(own_checks_only):
    with pytest.raises(ValueError, match=r"frozen_dtype='float8' must be one of .*bfloat16"):
        make(frozen_dtype="float8")


def test_the_recipe_names_what_the_frozen_features_depend_on():
    """Whatever changes the features must change the recipe or the frozen weights."""
    usual = make().frozen_recipe()
    for options in (
        {"family": "timm"},
        {"layers": (1, 2)},
        {"readout": "patch"},
        {"activation": "quick_gelu"},
        {"frozen_dtype": "bfloat16"},
        {"variant": {**VIT["variant"], "num_heads": 2}},
    ):
        assert make(**options).frozen_recipe() != usual, options
    for options in ({"output": "ladder"}, {"side_dim": 6}, {"pooling": "global"}):
        assert make(**options).frozen_recipe() == usual, options


# ---------------------------------------------------------------- errors


def test_a_ladder_without_flow_raises():
    with pytest.raises(ValueError, match=r"flow=None.*give the recognizer a neck"):
        make()(clips_of())


def test_frozen_features_without_the_flow_that_they_need_raise():
    model = make()
    frozen = model.extract_frozen(clips_of(), UniformFlow())
    with pytest.raises(ValueError, match="measured=None: AMFlow is measured"):
        model(frozen, AMFlow())


@pytest.mark.parametrize("layers", [(0, 3), (1, 1)])
def test_blocks_that_do_not_exist_raise(layers):
    with pytest.raises(ValueError, match=r"layers=\[.*\] must be different blocks from 0 to 2"):
        make(layers=layers)


def test_a_ladder_without_rungs_raises():
    with pytest.raises(ValueError, match=r"layers=\(\) must name at least one block"):
        make(layers=())


def test_an_unknown_output_raises(own_checks_only):
    with pytest.raises(ValueError, match="output='both' must be one of 'sum', 'ladder', 'frozen'"):
        make(output="both")
