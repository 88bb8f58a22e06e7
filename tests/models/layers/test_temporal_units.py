"""Temporal units against loops, and what makes a unit a unit."""

import numpy as np
import pytest
import torch

from amflow_mm.models.layers import LSTMUnit, TCNUnit, TransformerUnit
from amflow_mm.testing import fixed_init_, fixed_tensor
from tests.reference import temporal_units as oracle
from tests.reference.basics import layer_norm_of, sub_weights, to_numpy, weights_of

B, T, R = 2, 5, 6
GRID = (2, 3)
UNITS = {
    "transformer": lambda: TransformerUnit(R, num_heads=3, num_layers=2, mlp_ratio=2.0),
    "tcn": lambda: TCNUnit(R, dilations=(1, 2)),
    "lstm": lambda: LSTMUnit(R),
}


def make(name):
    return fixed_init_(UNITS[name]())


def assert_rows_close(found, sequences, by_loops, tolerance=1e-5):
    for one, sequence in zip(found, sequences, strict=True):
        np.testing.assert_allclose(
            to_numpy(one), by_loops(to_numpy(sequence)), rtol=tolerance, atol=tolerance
        )


def transformer_by_loops(unit, num_heads):
    weights = weights_of(unit)

    def run(sequence):
        for layer in range(len(unit.layers)):
            inner = sub_weights(weights, f"layers.{layer}.")
            inner = {key.replace("attn.", "").replace("mlp.", ""): inner[key] for key in inner}
            sequence = oracle.transformer_layer(sequence, inner, num_heads=num_heads)
        return sequence

    return run


def tcn_by_loops(unit, dilations):
    weights = weights_of(unit)

    def run(sequence):
        for layer, dilation in enumerate(dilations):
            inner = sub_weights(weights, f"layers.{layer}.")
            inner["depthwise.weight"] = inner["time.weight"].reshape(R, -1)
            inner["depthwise.bias"] = inner["time.bias"]
            sequence = oracle.tcn_layer(sequence, inner, dilation=dilation, norm_eps=1e-5)
        return sequence

    return run


def lstm_by_loops(unit):
    weights = weights_of(unit)

    def run(sequence):
        normed = np.array([layer_norm_of(step, weights, "norm", 1e-5) for step in sequence])
        inner = sub_weights(weights, "lstm.")
        return sequence + oracle.lstm(normed, inner, bidirectional=False)

    return run


def test_the_transformer_unit_equals_the_loops():
    unit, g = make("transformer"), fixed_tensor((B, T, R))
    assert_rows_close(unit(g)[0], g, transformer_by_loops(unit, num_heads=3))


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("dilations", [(1,), (1, 2), (4,)])
def test_the_tcn_unit_equals_the_loops(dilations, kernel_size):
    unit = fixed_init_(TCNUnit(R, kernel_size=kernel_size, dilations=dilations))
    g = fixed_tensor((B, T, R))
    assert_rows_close(unit(g)[0], g, tcn_by_loops(unit, dilations))


def test_the_lstm_unit_equals_the_loops():
    unit, g = make("lstm"), fixed_tensor((B, T, R))
    assert_rows_close(unit(g)[0], g, lstm_by_loops(unit))


def test_the_tcn_unit_over_space_and_time_equals_the_loops():
    dilations = (1, 2)
    unit = fixed_init_(TCNUnit(R, spatial_size=3, dilations=dilations))
    h = fixed_tensor((B, T, GRID[0] * GRID[1], R))
    found = unit.mix_tokens(h, GRID)
    weights = weights_of(unit)
    for one, clip in zip(found, h, strict=True):
        video = to_numpy(clip).reshape(T, *GRID, R)
        for layer, dilation in enumerate(dilations):
            inner = sub_weights(weights, f"layers.{layer}.")
            normed = np.zeros(video.shape)
            for index in np.ndindex(*video.shape[:3]):
                normed[index] = layer_norm_of(video[index], inner, "norm", 1e-5)
            mixed = oracle.depthwise_over_time_and_grid(
                normed, inner["space.weight"].reshape(R, 1, 3, 3), inner["space.bias"], dilation=1
            )
            mixed = oracle.depthwise_over_time_and_grid(
                mixed,
                inner["time.weight"].reshape(R, 3, 1, 1),
                inner["time.bias"],
                dilation=dilation,
            )
            out = np.zeros(video.shape)
            for index in np.ndindex(*video.shape[:3]):
                hidden = oracle.elementwise(mixed[index], "gelu")
                out[index] = video[index] + oracle.linear_of(hidden, inner, "pointwise")
            video = out
        np.testing.assert_allclose(to_numpy(one).reshape(video.shape), video, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", UNITS)
def test_tokens_are_mixed_over_time_at_every_patch(name):
    unit = make(name)
    h = fixed_tensor((B, T, 6, R))
    found = unit.mix_tokens(h, GRID)
    for patch in range(6):
        torch.testing.assert_close(found[:, :, patch], unit(h[:, :, patch])[0])


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_hands_the_state_through_and_keeps_nothing(name):
    unit, g = make(name), fixed_tensor((B, T, R))
    before = set(vars(unit))
    state = torch.ones(3)
    first, returned = unit(g, state)
    assert returned is state
    assert unit(g)[1] is None
    assert torch.equal(unit(g)[0], first), "a second clip must not see the first"
    assert set(vars(unit)) == before


@pytest.mark.parametrize("name", UNITS)
def test_clips_do_not_see_each_other(name):
    unit, g = make(name), fixed_tensor((B, T, R))
    expected = unit(g)[0][0]
    g[1] = -3.0
    torch.testing.assert_close(unit(g)[0][0], expected)


@pytest.mark.parametrize(
    ("name", "reach"),
    [("transformer", {0, 1, 2, 3, 4}), ("tcn", {0, 1, 2, 3, 4}), ("lstm", {2, 3, 4})],
)
def test_which_frames_see_frame_two(name, reach):
    unit, g = make(name), fixed_tensor((1, T, R))
    before = unit(g)[0]
    g[:, 2] += fixed_tensor((R,), tag="nudge")
    after = unit(g)[0]
    changed = {t for t in range(T) if not torch.allclose(before[:, t], after[:, t], atol=1e-6)}
    assert changed == reach


def test_one_tcn_layer_reaches_one_dilation():
    unit = fixed_init_(TCNUnit(R, dilations=(2,)))
    g = fixed_tensor((1, 7, R))
    before = unit(g)[0]
    g[:, 3] += fixed_tensor((R,), tag="nudge")
    after = unit(g)[0]
    assert {t for t in range(7) if not torch.equal(before[:, t], after[:, t])} == {1, 3, 5}


@pytest.mark.parametrize(("dim", "heads"), [(32, 1), (64, 1), (128, 2), (192, 3)])
def test_heads_are_sixty_four_wide_by_default(dim, heads):
    unit = TransformerUnit(dim)
    assert [layer.attn.num_heads for layer in unit.layers] == [heads]


def test_the_ratio_and_the_number_of_layers_are_obeyed():
    unit = TransformerUnit(R, num_layers=3, num_heads=1, mlp_ratio=2.0)
    assert [layer.mlp.fc1.out_features for layer in unit.layers] == [12, 12, 12]
    assert LSTMUnit(R, num_layers=2).lstm.num_layers == 2


def test_even_kernels_raise():
    with pytest.raises(ValueError, match="kernel_size=4 and spatial_size=1 must be odd"):
        TCNUnit(R, kernel_size=4)


@pytest.mark.usefixtures("own_checks_only")
def test_even_neighbourhoods_raise():
    with pytest.raises(ValueError, match="kernel_size=3 and spatial_size=2 must be odd"):
        TCNUnit(R, spatial_size=2)


def test_a_spatial_unit_refuses_pooled_vectors():
    with pytest.raises(ValueError, match="spatial_size=3 mixes over patches"):
        TCNUnit(R, spatial_size=3)(fixed_tensor((B, T, R)))


@pytest.mark.parametrize("name", UNITS)
def test_a_grid_that_does_not_hold_the_patches_raises(name):
    with pytest.raises(ValueError, match=r"grid=\(2, 3\) does not hold the 7 patches"):
        make(name).mix_tokens(fixed_tensor((B, T, 7, R)), GRID)
