"""Layers by their names in a config."""

import pytest
from mmengine.registry import init_default_scope

from amflow_mm.models import layers
from amflow_mm.models.registered_layers import build_adapter, build_unit
from amflow_mm.registry import MODELS

NAMES = ("Adapter", "TemporalAdapter", "TransformerUnit", "TCNUnit", "LSTMUnit", "AligningEncoder",
         "AffineAligner")  # fmt: skip


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("amflow_mm")


@pytest.mark.parametrize("name", NAMES)
def test_layers_keep_their_names(name):
    assert MODELS.get(name) is getattr(layers, name)


def test_the_width_is_filled_in_and_the_config_left_alone():
    cfg = {"type": "TCNUnit", "dilations": (1, 2)}
    unit = build_unit(cfg, 12)
    assert isinstance(unit, layers.TCNUnit)
    assert [layer.pointwise.in_features for layer in unit.layers] == [12, 12]
    assert cfg == {"type": "TCNUnit", "dilations": (1, 2)}


@pytest.mark.parametrize(("bottleneck_dim", "expected"), [(None, 5), (8, 8)])
def test_an_adapter_is_built_around_its_unit(bottleneck_dim, expected):
    cfg = {"type": layers.TemporalAdapter, "unit": {"type": "LSTMUnit"}, "flow_as": "both"}
    if bottleneck_dim:
        cfg["bottleneck_dim"] = bottleneck_dim
    adapter = build_adapter(cfg, 20)
    assert adapter.down.weight.shape == (expected, 20)
    assert adapter.bottleneck.unit.lstm.input_size == expected


def test_a_plain_adapter_needs_no_unit():
    adapter = build_adapter({"type": "Adapter", "scale": 0.5}, 20)
    assert (adapter.down.out_features, adapter.scale) == (5, 0.5)


def test_a_misspelt_key_raises():
    with pytest.raises(TypeError, match="dilation"):
        build_unit({"type": "TCNUnit", "dilation": (1,)}, 12)
