"""Adapters against loops: silent at the start, then every weight trains."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from amflow_mm.models.layers import (
    Adapter,
    LSTMUnit,
    TCNUnit,
    TemporalAdapter,
    TransformerUnit,
    zero_linear,
)
from amflow_mm.testing import fixed_init_, fixed_tensor
from tests.models.layers.test_temporal_units import (
    lstm_by_loops,
    tcn_by_loops,
    transformer_by_loops,
)
from tests.reference import adapter as oracle
from tests.reference.basics import elementwise, linear_of, sub_weights, to_numpy, weights_of

B, T, C, R, GRID = 2, 5, 7, 6, (3, 2)
P = GRID[0] * GRID[1]
FLOWS = ("gain", "feature", "both")
POOLINGS = ("global", "token")
UNITS = {
    "transformer": (
        lambda: TransformerUnit(R, num_heads=3),
        lambda unit: transformer_by_loops(unit, 3),
    ),
    "tcn": (lambda: TCNUnit(R, dilations=(2,)), lambda unit: tcn_by_loops(unit, (2,))),
    "lstm": (lambda: LSTMUnit(R), lstm_by_loops),
}


def make(unit="tcn", num_prefix=1, **options):
    options = {"num_frames": T, "flow_grid": 2, **options}
    return TemporalAdapter(C, R, UNITS[unit][0](), **options)


def inputs(num_prefix=1):
    a = fixed_tensor((B, T, num_prefix + P, C), tag="a")
    w = P * fixed_tensor((B, T, P), tag="w", scale=2.0).softmax(dim=-1)
    return a, w


def neutral_names(module):
    """Weights under the names of the oracle."""
    weights = weights_of(module)
    inner = sub_weights(weights, "bottleneck.")
    out = {key: weights[key] for key in weights if key.startswith(("down.", "up."))}
    out["position"] = inner["temporal_position"]
    if "flow_feature.weight" in inner:
        out["feature"] = inner["flow_feature.weight"][:, 0]
    for key, value in inner.items():
        if key.startswith("flow_map."):
            out["flow_map." + key.rsplit(".", 1)[1]] = value
    return out


# ---------------------------------------------------------------- parity


@pytest.mark.parametrize("num_prefix", [0, 1, 5])
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("flow_as", FLOWS)
@pytest.mark.parametrize("unit", UNITS)
def test_the_temporal_adapter_equals_the_loops(unit, flow_as, pooling, num_prefix):
    module = fixed_init_(make(unit, flow_as=flow_as, pooling=pooling, scale=0.7))
    a, w = inputs(num_prefix)
    by_loops = UNITS[unit][1](module.bottleneck.unit)
    for one, tokens, flow in zip(module(a, w, GRID), a, w, strict=True):
        expected = oracle.temporal_adapter(
            to_numpy(tokens),
            to_numpy(flow),
            GRID,
            neutral_names(module),
            unit=by_loops,
            flow_as=flow_as,
            pooling=pooling,
            scale=0.7,
        )
        np.testing.assert_allclose(to_numpy(one), expected, rtol=1e-5, atol=2e-5)


def test_a_coarse_map_that_does_not_divide_the_grid_equals_the_loops():
    module = fixed_init_(make(flow_as="both", flow_grid=4))
    a, w = inputs()
    expected = oracle.temporal_adapter(
        to_numpy(a[0]),
        to_numpy(w[0]),
        GRID,
        neutral_names(module),
        unit=UNITS["tcn"][1](module.bottleneck.unit),
        flow_as="both",
        pooling="global",
        scale=1.0,
    )
    np.testing.assert_allclose(to_numpy(module(a, w, GRID)[0]), expected, rtol=1e-5, atol=2e-5)


def test_the_plain_adapter_equals_the_loops():
    module = fixed_init_(Adapter(C, R, scale=0.3))
    x = fixed_tensor((3, C))
    weights = weights_of(module)
    for found, token in zip(module(x), x, strict=True):
        hidden = elementwise(linear_of(to_numpy(token), weights, "down"), "gelu")
        np.testing.assert_allclose(
            to_numpy(found), 0.3 * linear_of(hidden, weights, "up"), rtol=1e-5, atol=1e-5
        )


# ---------------------------------------------------------------- at the start


def zero_names(module):
    return {name for name, value in module.named_parameters() if not value.any()}


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("flow_as", FLOWS)
@pytest.mark.parametrize("unit", UNITS)
def test_a_fresh_temporal_adapter_adds_exactly_zero(unit, flow_as, pooling):
    module = make(unit, flow_as=flow_as, pooling=pooling)
    a, w = inputs()
    assert torch.equal(module(a, w, GRID), torch.zeros_like(a))
    assert {"up.weight", "up.bias"} <= zero_names(module)
    assert not any(name.startswith(("down", "bottleneck.flow")) for name in zero_names(module))
    assert "bottleneck.temporal_position" not in zero_names(module)


def test_a_fresh_plain_adapter_adds_exactly_zero():
    module = Adapter(C, R)
    x = fixed_tensor((2, 3, C))
    assert torch.equal(module(x), torch.zeros_like(x))
    assert zero_names(module) == {"up.weight", "up.bias"}
    assert zero_names(zero_linear(3, 2)) == {"weight", "bias"}


# ---------------------------------------------------------------- training


def steps_of(module, forward, count):
    """Parameter values before each of ``count`` steps of plain gradient descent, and after."""
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    history = [copy.deepcopy(module.state_dict())]
    for _ in range(count):
        optimizer.zero_grad()
        out = forward(module)
        (out * fixed_tensor(out.shape, tag="loss")).sum().backward()
        optimizer.step()
        history.append(copy.deepcopy(module.state_dict()))
    return history


def moved(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("flow_as", FLOWS)
@pytest.mark.parametrize("unit", UNITS)
def test_the_first_step_moves_up_alone_and_the_second_moves_every_weight(unit, flow_as, pooling):
    module = make(unit, flow_as=flow_as, pooling=pooling)
    a, w = inputs()
    start, first, second = steps_of(module, lambda m: m(a, w, GRID), 2)
    assert moved(start, first) == {"up.weight", "up.bias"}
    assert moved(start, second) == set(start)
    assert set(module.adapter_params()) == {name for name, _ in module.named_parameters()}


def test_a_plain_adapter_trains_in_the_same_order():
    module = Adapter(C, R)
    x = fixed_tensor((3, C))
    start, first, second = steps_of(module, lambda m: m(x), 2)
    assert moved(start, first) == {"up.weight", "up.bias"}
    assert moved(start, second) == set(start) == set(module.adapter_params())


def test_gradient_reaches_the_flow_so_that_an_aligner_can_learn():
    a, w = inputs()
    for flow_as in FLOWS:
        for pooling in POOLINGS:
            flow = w.clone().requires_grad_()
            module = fixed_init_(make(flow_as=flow_as, pooling=pooling))
            (module(a, flow, GRID) * fixed_tensor(a.shape, tag="loss")).sum().backward()
            assert (flow.grad != 0).all(), (flow_as, pooling)


# ---------------------------------------------------------------- what flow and tokens do


@pytest.mark.parametrize("flow_as", FLOWS)
def test_which_parts_exist(flow_as):
    has_map = {
        pooling: make(flow_as=flow_as, pooling=pooling).bottleneck.flow_map is not None
        for pooling in POOLINGS
    }
    assert has_map == {"global": flow_as != "gain", "token": False}
    assert (make(flow_as=flow_as).bottleneck.flow_feature is not None) == (flow_as != "gain")


@pytest.mark.parametrize("flow_as", FLOWS)
def test_prefix_tokens_take_no_flow_with_token_pooling(flow_as):
    module = fixed_init_(make(flow_as=flow_as, pooling="token"))
    a, w = inputs(num_prefix=3)
    out = module(a, w, GRID)
    expected = module.up(F.gelu(module.down(a[:, :, :3])))
    torch.testing.assert_close(out[:, :, :3], expected)
    changed = module(a, w.flip(-1), GRID)
    assert torch.equal(changed[:, :, :3], out[:, :, :3])
    assert not torch.allclose(changed[:, :, 3:], out[:, :, 3:])


def test_prefix_tokens_take_no_part_in_the_pooling():
    module = fixed_init_(make(pooling="global"))
    a, w = inputs(num_prefix=2)
    out = module(a, w, GRID)
    a[:, :, :2] = 0
    assert torch.equal(module(a, w, GRID)[:, :, 2:], out[:, :, 2:])


def test_global_pooling_tells_every_token_the_same():
    module = fixed_init_(make(pooling="global"))
    a, w = inputs()
    a[1] = a[0]
    w[1] = 1 + 0.5 * (w[0] - 1)
    difference = module(a, w, GRID)[1, :, :1] - module(a, w, GRID)[0, :, :1]
    assert difference.abs().max() > 1e-3, "the CLS token must hear of the patches' motion"


@pytest.mark.parametrize("pooling", POOLINGS)
def test_other_frames_matter(pooling):
    module = fixed_init_(make("transformer", pooling=pooling))
    a, w = inputs()
    before = module(a, w, GRID)
    a[:, 0] = -a[:, 0]
    after = module(a, w, GRID)
    assert all(not torch.allclose(before[:, t, 1:], after[:, t, 1:]) for t in range(T))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_reversing_the_clip_is_not_reversing_the_output(pooling):
    module = fixed_init_(make("transformer", pooling=pooling))
    a, w = inputs()
    forwards = module(a, w, GRID)
    backwards = module(a.flip(1), w.flip(1), GRID).flip(1)
    assert not torch.allclose(forwards, backwards), "temporal positions must tell the order"


@pytest.mark.parametrize("pooling", POOLINGS)
def test_clips_do_not_see_each_other(pooling):
    module = fixed_init_(make(pooling=pooling, flow_as="both"))
    a, w = inputs()
    expected = module(a, w, GRID)[0]
    a[1], w[1] = -a[1], w[1].flip(-1)
    torch.testing.assert_close(module(a, w, GRID)[0], expected)


def test_a_clip_shorter_than_num_frames_uses_the_first_positions():
    module = fixed_init_(make())
    a, w = inputs()
    short = module(a[:, :3], w[:, :3], GRID)
    with torch.no_grad():
        module.bottleneck.temporal_position[3:] += 1
    assert torch.equal(module(a[:, :3], w[:, :3], GRID), short)


def test_scale_is_a_factor_of_the_output():
    plain, doubled = fixed_init_(make()), fixed_init_(make(scale=2.0))
    a, w = inputs()
    torch.testing.assert_close(doubled(a, w, GRID), 2 * plain(a, w, GRID))


def test_half_precision_under_autocast_stays_close():
    module = fixed_init_(make(flow_as="both"), scale=1.0)
    a, w = inputs()
    expected = module(a, w, GRID)
    with torch.autocast("cpu", torch.bfloat16):
        found = module(a, w, GRID)
    assert found.dtype == torch.bfloat16
    error = (found.float() - expected).norm() / expected.norm()
    assert error < 0.03


def test_the_state_of_a_ladder_joins_after_the_gain():
    bottleneck = fixed_init_(make(pooling="token")).bottleneck
    h, state = fixed_tensor((B, T, P, R), tag="h"), fixed_tensor((B, T, P, R), tag="state")
    _, w = inputs()
    position = bottleneck.temporal_position[:, None]
    expected = bottleneck.unit.mix_tokens(h * w[..., None] + state + position, GRID)
    torch.testing.assert_close(bottleneck(h, w, GRID, state), expected)
    assert torch.equal(bottleneck(h, w, GRID, torch.zeros_like(h)), bottleneck(h, w, GRID))


def test_a_spatial_unit_gets_the_grid_the_right_way_round():
    unit = TCNUnit(R, kernel_size=1, spatial_size=3)
    module = fixed_init_(TemporalAdapter(C, R, unit, pooling="token", num_frames=T))
    a, w = inputs(num_prefix=0)
    before = module(a, w, GRID)
    a[:, :, 0] += fixed_tensor((C,), tag="nudge")
    after = module(a, w, GRID)
    changed = {j for j in range(P) if not torch.allclose(before[:, :, j], after[:, :, j])}
    assert changed == {0, 1, 2, 3}  # rows 0 and 1 of two columns; row 2 is out of reach


# ---------------------------------------------------------------- errors


def test_too_many_frames_raise():
    module = make(num_frames=4)
    with pytest.raises(ValueError, match=r"T=5 exceeds num_frames=4 .* raise its num_frames"):
        module(*inputs(), GRID)


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"pooling": "mean"}, "pooling='mean' must be one of 'global', 'token'"),
        ({"flow_as": "bias"}, "flow_as='bias' must be one of 'gain', 'feature', 'both'"),
    ],
)
@pytest.mark.usefixtures("own_checks_only")
def test_an_unknown_option_raises(option, match):
    with pytest.raises(ValueError, match=match):
        make(**option)
