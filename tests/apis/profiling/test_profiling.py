"""Time is told by part, and the backward pass belongs to what it goes back through."""

import gzip
import json

import pytest
import torch
from torch import nn
from torch.profiler import profile

from amflow_mm.apis.model_benchmark.recipes import AIM, FROZEN, IN_BLOCK, SIDE, model_config
from amflow_mm.apis.profiling import ProfileOptions, print_profile, profile_training
from amflow_mm.apis.profiling.attribution import time_by_part
from amflow_mm.apis.profiling.regions import (
    ATTENTION,
    EMBEDDING,
    MLP,
    PARTS,
    PREPROCESSING,
    REST,
    find_regions,
    named_regions,
    region,
)
from amflow_mm.apis.profiling.report import operator_rows, part_rows
from amflow_mm.registry import MODELS
from tests.apis.model_benchmark.tiny import CASE, VARIANT
from tests.apis.profiling.recorded_profile import recorded_profile

OPTIMISER = dict(optimizer=dict(type="AdamW", lr=1e-3))


@pytest.fixture
def cfg_of():
    def make(name):
        cfg = model_config(name, VARIANT, CASE)
        cfg.optim_wrapper = OPTIMISER
        cfg.train_dataloader = dict(batch_size=2)
        return cfg

    return make


@pytest.fixture
def profile_of(cfg_of, tmp_path):
    def run(name):
        options = ProfileOptions(steps=1, warm_up=1, shape=(3, 16, 16))
        return profile_training(cfg_of(name), options, tmp_path / "trace.json.gz")

    return run


def spent(record):
    return {row["part"]: (row["forward"], row["backward"]) for row in record["parts"]}


def test_every_part_of_the_method_takes_its_time(profile_of):
    record = profile_of(IN_BLOCK)
    parts = spent(record)
    for name in (ATTENTION, MLP, "AM flow", "adapters", "head", PREPROCESSING, "optimiser", REST):
        assert parts[name][0] > 0, name
    for name in (ATTENTION, MLP, "adapters", "head"):
        assert parts[name][1] > 0, name
    assert parts["AM flow"][1] == 0  # maps carry no gradient
    assert parts[PREPROCESSING][1] == 0
    assert set(parts) <= set(PARTS)


def test_nothing_goes_back_through_a_frozen_model(profile_of):
    for name in (FROZEN, SIDE):
        parts = spent(profile_of(name))
        assert parts[ATTENTION][1] == parts[MLP][1] == 0
        assert parts["head"][1] > 0
    assert parts["adapters"][1] > 0


def test_attention_that_an_adapter_calls_is_attention(profile_of):
    frozen, aim = spent(profile_of(FROZEN)), spent(profile_of(AIM))
    assert "adapters" not in frozen
    assert aim["adapters"][0] > 0
    assert aim[ATTENTION][1] > 0


def test_trace_is_one_for_chrome(profile_of, tmp_path):
    record = profile_of(FROZEN)
    with gzip.open(tmp_path / "trace.json.gz", "rt") as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert {"part: attention", "part: optimiser", "part: rest"} <= names
    assert [row["self"] for row in record["operators"]] == sorted(
        (row["self"] for row in record["operators"]), reverse=True
    )
    assert "aten::addmm" in {row["operator"] for row in record["operators"]}
    assert "attention" in print_profile(record)


def test_a_node_belongs_to_the_operator_that_made_it():
    first, second = nn.Linear(64, 64), nn.Linear(64, 64)
    x = torch.randn(32, 64)
    with profile() as recorded, region(REST):
        with region("one"):
            h = first(x)
        with region("two"):
            y = second(h).square()
        y.sum().backward()
    times = time_by_part(recorded.events(), on_device=False)
    for name in ("one", "two"):
        for direction in ("forward", "backward"):
            assert times[name, direction] > 0
    assert times[REST, "backward"] > 0  # sum, and gradients of parameters


def test_what_is_outside_of_all_regions_is_left_out():
    x = torch.randn(8, 8)
    with profile() as recorded:
        x @ x
    assert not time_by_part(recorded.events(), on_device=False)


def test_regions_are_the_topmost_modules(cfg_of):
    roots = find_regions(MODELS.build(cfg_of("AM Flow in_block, transformer").model))
    assert roots[""] == REST
    assert roots["data_preprocessor"] == PREPROCESSING
    assert roots["backbone.embedding"] == EMBEDDING
    assert roots["backbone.blocks.0.attn"] == ATTENTION
    assert roots["backbone.blocks.0.mlp"] == MLP
    assert roots["backbone.blocks.0.norm1"] == EMBEDDING
    # The unit has an attention of its own, which is the adapter's.
    inside = [name for name in roots if name.startswith("backbone.blocks.0.after_attention.")]
    assert {roots[name] for name in inside} <= {"adapters"}
    assert roots["neck"] == "AM flow"
    assert roots["cls_head"] == "head"


def test_the_model_is_left_as_it_was(cfg_of):
    model = MODELS.build(cfg_of(FROZEN).model)
    before = {name: set(vars(module)) for name, module in model.named_modules()}
    with named_regions(model):
        assert "forward" in vars(model.backbone)
    assert {name: set(vars(module)) for name, module in model.named_modules()} == before


def test_tables_add_up():
    assert part_rows(recorded_profile()) == [
        ["ms of a step", "forward", "backward", "both", "%"],
        ["attention", "2.00", "4.00", "6.00", "60.0"],
        ["rest", "3.00", "1.00", "4.00", "40.0"],
        ["all", "5.00", "5.00", "10.00", "100.0"],
    ]
    assert operator_rows(recorded_profile())[1] == ["`aten::mm`", "12", "5.00", "50.0"]
    assert print_profile(recorded_profile(is_preliminary=True)).startswith("**Preliminary")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0 must be >= 1"),
        ({"warm_up": -1}, "warm_up=-1 must be >= 0"),
        ({"batch_size": 0}, "batch_size=0 must be >= 1 or None"),
        ({"data": "none"}, "data='none' must be one of"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ProfileOptions(**options)
