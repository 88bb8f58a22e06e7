"""MACs against hand formulas; parts, and what must not be left behind."""

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from amflow_mm.apis import complexity
from amflow_mm.apis.complexity import ClipShape, build_on_meta, measure_complexity
from amflow_mm.apis.model_parts import IMAGE_MODEL
from amflow_mm.models import (
    AMFlow,
    AMFlowViT,
    FeatureFlow,
    ImageViT,
    ShuffledFlow,
    UniformFlow,
)
from amflow_mm.models.layers import (
    Adapter,
    AffineAligner,
    AligningEncoder,
    LSTMUnit,
    TCNUnit,
    TemporalAdapter,
    TransformerUnit,
)
from amflow_mm.models.peft import parameter_report
from amflow_mm.registry import MODELS
from tests.apis.tiny_models import (
    HIDDEN,
    SHAPE,
    VIT,
    C,
    K,
    L,
    N,
    P,
    R,
    T,
    in_block,
    make_config,
    side,
)

FROZEN = T * (P * 3 * 7 * 7 * C + L * (N * (4 * C * C + 2 * C * HIDDEN) + 2 * N * N * C))
MAPS = L * T * P * N * C  # rows of the patches alone
B16 = ClipShape(8, 224, 224)


def count(cfg: Config, shape: ClipShape = SHAPE) -> complexity.Complexity:
    return measure_complexity(build_on_meta(cfg), shape)


def macs(cfg: Config) -> dict[str, int]:
    return {name: part.macs for name, part in count(cfg).parts.items()}


def test_frozen_vit_b16_costs_140_5_gmacs():
    cfg = make_config(dict(type=ImageViT, variant="b16", family="clip"), None, 400, 768)
    result = count(cfg, B16)
    tokens, width = 197, 768
    blocks = 12 * (tokens * 12 * width**2 + 2 * tokens**2 * width)
    by_hand = 8 * (196 * 3 * 16**2 * width + blocks)
    assert result.parts["frozen_vit"].macs == pytest.approx(by_hand, rel=0.01)
    assert result.parts["frozen_vit"].macs / 1e9 == pytest.approx(140.5, abs=0.05)
    assert result.total.macs == result.parts["frozen_vit"].macs + 768 * 400
    assert result.total.parameters == 85_799_424 + 769 * 400


def test_maps_of_vit_b16_cost_036_gmacs_a_frame():
    backbone = dict(
        type=AMFlowViT,
        variant="b16",
        family="clip",
        adapter=dict(type=TemporalAdapter, bottleneck_dim=192, unit=dict(type=TCNUnit)),
    )
    flow = count(make_config(backbone, dict(type=AMFlow), 400, 768), B16).parts["am_flow"]
    assert flow.macs / 8 / 1e9 == pytest.approx(0.36, abs=0.005)
    assert flow.macs == 8 * 12 * 196 * 197 * 768


def test_every_part_of_an_in_block_model_equals_the_hand_formula():
    pooling = T * P * R
    unit = T * (3 * R + R * R)
    assert macs(in_block()) == {
        "frozen_vit": FROZEN,
        "am_flow": MAPS,
        "aligner": 0,
        "adapters": L * (2 * T * N * C * R + pooling + unit),
        "head": C * K,
    }


def test_aligner_and_warp_are_counted_apart():
    width = 8
    aligner = dict(
        type=AligningEncoder, embed_dim=C, bottleneck_dim=width, num_heads=2, warp="dense"
    )
    found = macs(in_block(dict(type=AMFlow, aligner=aligner)))
    pairs = L * (T - 1)
    layer = 2 * P * 12 * width**2 + 2 * (2 * P) ** 2 * width
    soft = 2 * P * width**2 + P * P * width
    assert found["aligner"] == L * T * P * C * width + pairs * (layer + soft)
    assert found["am_flow"] == MAPS + pairs * 2 * P**3


def test_aligner_without_parameters_is_an_aligner_too():
    result = count(in_block(dict(type=AMFlow, aligner=dict(type=AffineAligner))))
    assert result.parts["aligner"].parameters == 0
    assert result.parts["aligner"].macs > L * (T - 1) * P * P * C
    assert result.parts["am_flow"].macs == MAPS  # an affine warp gathers


@pytest.mark.parametrize(
    ("unit", "by_hand"),
    [
        (dict(type=TransformerUnit), T * 12 * R * R + 2 * T * T * R),
        (dict(type=LSTMUnit), T * 8 * R * R),
        (dict(type=TCNUnit, dilations=(1, 2)), 2 * T * (3 * R + R * R)),
    ],
)
def test_units_are_counted(unit, by_hand):
    found = macs(in_block(unit=unit))["adapters"]
    assert found == L * (2 * T * N * C * R + T * P * R + by_hand)


def test_mlp_adapters_count_as_adapters():
    plain = macs(in_block())
    more = macs(in_block(mlp_adapter=dict(type=Adapter, bottleneck_dim=4)))
    assert more["adapters"] - plain["adapters"] == L * 2 * T * N * C * 4
    assert {**more, "adapters": 0} == {**plain, "adapters": 0}


TOKEN_RUNG = T * P * (C * R + (3 * 3 + 3) * R + R * R)
FRAME_RUNG = T * (P * C + C * R + 4 * R + 3 * R + R * R)


@pytest.mark.parametrize(
    ("options", "ladder"),
    [
        (dict(unit=dict(type=TCNUnit, spatial_size=3)), 2 * TOKEN_RUNG + T * P * R),
        (dict(pooling="global", flow_as="both", flow_grid=2), 2 * FRAME_RUNG),
    ],
)
def test_side_ladder_equals_the_hand_formula(options, ladder):
    assert macs(side(**options)) == {
        "frozen_vit": FROZEN,
        "am_flow": MAPS * 2 // L,
        "aligner": 0,
        "adapters": ladder + T * R * C,
        "head": C * K,
    }


def test_probe_of_the_frozen_model_costs_the_frozen_model():
    cfg = side(output="frozen")
    cfg.model.neck = None
    assert macs(cfg) == dict(frozen_vit=FROZEN, am_flow=0, aligner=0, adapters=0, head=C * K)


@pytest.mark.parametrize("make", [in_block, side])
@pytest.mark.parametrize("neck", [dict(type=UniformFlow), dict(type=FeatureFlow)])
def test_controls_recompute_no_maps(make, neck):
    assert macs(make(neck))["am_flow"] == 0


def test_warp_of_the_control_is_counted_where_it_happens():
    aligner = dict(type=AligningEncoder, embed_dim=C, bottleneck_dim=8, warp="dense")
    for make, blocks in ((in_block, L), (side, 2)):
        found = macs(make(dict(type=FeatureFlow, aligner=aligner)))
        assert found["am_flow"] == blocks * (T - 1) * P * P * C
        assert found["aligner"] > 0


def test_aligner_inside_another_neck_is_found():
    inner = dict(type=AMFlow, aligner=dict(type=AligningEncoder, embed_dim=C, bottleneck_dim=8))
    plain, shuffled = count(in_block(inner)), count(in_block(dict(type=ShuffledFlow, flow=inner)))
    assert shuffled == plain
    assert plain.parts["aligner"].parameters == plain.parts["aligner"].trainable > 0


def test_aligners_of_single_blocks_cost_as_much_as_a_shared_one():
    aligner = dict(type=AligningEncoder, embed_dim=C, bottleneck_dim=8)
    shared = count(in_block(dict(type=AMFlow, aligner=aligner)))
    single = count(in_block(dict(type=AMFlow, aligner=aligner, aligner_layers=(0, 1, 2))))
    assert single.parts["aligner"].macs == shared.parts["aligner"].macs
    assert single.parts["aligner"].parameters == 3 * shared.parts["aligner"].parameters


@pytest.mark.parametrize("make", [in_block, side])
def test_parameters_are_split_without_remainder(make):
    model = build_on_meta(make(dict(type=AMFlow, aligner=dict(type=AligningEncoder, embed_dim=C))))
    result, report = measure_complexity(model, SHAPE), parameter_report(model)
    assert (result.total.parameters, result.total.trainable) == (report.total, report.trainable)
    norm = 2 * C * model.backbone.norm.weight.requires_grad
    assert result.parts["frozen_vit"].trainable == norm
    for name in ("aligner", "adapters", "head"):
        part = result.parts[name]
        assert part.parameters == part.trainable > 0
    assert norm == (2 * C if make is in_block else 0)


def test_only_the_children_of_the_image_model_count_as_it():
    vit = ImageViT(VIT, family="timm", image_size=14)
    assert {name for name, _ in vit.named_children()} == IMAGE_MODEL


@pytest.mark.parametrize("make", [in_block, side])
def test_real_tensors_and_their_fused_attention_give_the_same_count(make):
    cfg = make()
    model = MODELS.build(cfg.model).eval()
    assert measure_complexity(model, SHAPE) == count(cfg)


def test_kernels_that_hide_their_products_raise():
    model = MODELS.build(in_block(unit=dict(type=LSTMUnit)).model).eval()
    with pytest.raises(ValueError, match="hides its products"):
        measure_complexity(model, SHAPE)
    q = torch.zeros(1, 2, 3, 8)
    with pytest.raises(ValueError, match="meta device"), complexity._MacCounter(), torch.no_grad():
        F.scaled_dot_product_attention(q, q, q)


def test_the_model_is_left_as_it_was():
    model = build_on_meta(in_block())
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    measure_complexity(model, SHAPE)
    with pytest.raises(ValueError, match="patch_size=7"):
        measure_complexity(model, ClipShape(T, 20, 14))
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before


def test_missing_weights_do_not_matter():
    cfg = in_block(pretrained="no/such/file.pth")
    assert count(cfg) == count(in_block())


def test_table_names_parts_and_both_units():
    result = count(in_block())
    lines = str(result).splitlines()
    assert lines[0] == "one view, 5 frames of 21 x 14"
    assert [line.split("  ")[0] for line in lines[2:]] == [
        "frozen ViT", "AM flow", "aligner", "adapters", "head", "all",
    ]  # fmt: skip
    gmacs, gflops, share = map(float, lines[-1].split()[-3:])
    assert gmacs == pytest.approx(result.total.macs / 1e9, abs=5e-4)
    assert gflops == pytest.approx(2 * result.total.macs / 1e9, abs=5e-4)
    assert share == 100
