"""A subject does what it is measured for: real steps, real features, counted operations."""

import pytest
import torch

from amflow_mm.apis.complexity import build_on_meta, measure_complexity
from amflow_mm.apis.model_benchmark.case import Case
from amflow_mm.apis.model_benchmark.model_subject import build_model_subject
from amflow_mm.apis.model_benchmark.recipes import (
    AIM,
    FROZEN,
    IN_BLOCK,
    SIDE,
    SIDE_CACHED,
    model_config,
    model_names,
)
from amflow_mm.engine.optim import AutocastOptimWrapper
from amflow_mm.errors import UserError
from tests.apis.model_benchmark.tiny import CASE, CPU, VARIANT


@pytest.fixture
def build(tmp_path):
    def build(name: str, case: Case = CASE):
        return build_model_subject(name, VARIANT, case, device=CPU, folder=tmp_path)

    return build


@pytest.mark.parametrize("name", model_names())
def test_a_step_moves_what_trains_and_nothing_else(build, name):
    subject = build(name)
    before = {key: value.clone() for key, value in subject.model.named_parameters()}
    subject.prepare("step")
    subject.run("step")
    moved = {k for k, v in subject.model.named_parameters() if not torch.equal(v, before[k])}
    trained = {key for key, value in subject.model.named_parameters() if value.requires_grad}
    assert moved <= trained
    assert "cls_head.fc_cls.weight" in moved


@pytest.mark.parametrize("name", [FROZEN, IN_BLOCK, AIM, SIDE])
def test_forward_operations_are_those_of_the_complexity(build, name):
    model = build_on_meta(model_config(name, VARIANT, CASE))
    expected = CASE.batch_size * measure_complexity(model, CASE.shape).total.macs
    assert build(name).macs["forward"] == expected


def test_kept_features_spare_the_frozen_model(build):
    cold, cached = build(SIDE), build(SIDE_CACHED)
    parts = measure_complexity(build_on_meta(model_config(SIDE, VARIANT, CASE)), CASE.shape).parts
    spared = parts["frozen_vit"].macs + parts["am_flow"].macs
    for mode in ("forward", "step"):
        assert cold.macs[mode] - cached.macs[mode] == CASE.batch_size * spared


def test_kept_features_are_those_of_the_clips(build):
    subject = build(SIDE_CACHED)
    clips = build(SIDE)._next_batch()
    subject.prepare("forward")
    with torch.no_grad():
        data = subject.model.data_preprocessor(clips, False)
        fresh = subject.model.backbone.extract_frozen(
            data["inputs"].flatten(0, 1), subject.model.neck
        )
    for name, kept in subject._inputs.items():
        torch.testing.assert_close(kept[:, 0], fresh[name], rtol=1e-3, atol=1e-3)


def test_held_memory_is_weights_and_state_of_the_optimiser(build):
    subject = build(FROZEN)
    weights = sum(4 * p.numel() for p in subject.model.parameters())
    buffers = sum(b.numel() * b.element_size() for b in subject.model.buffers())
    assert subject.held_bytes() == weights + buffers
    subject.prepare("step")
    subject.run("step")
    moments = 2 * sum(4 * p.numel() for p in subject.model.cls_head.parameters())
    assert subject.held_bytes() - weights - buffers - moments in (0, 8)  # two counters of steps


def test_precision_is_that_of_the_case(build):
    half = Case(CASE.frames, CASE.resolution, 1, "bf16")
    wrapper = build(FROZEN, half).optim_wrapper
    assert isinstance(wrapper, AutocastOptimWrapper)
    assert wrapper.is_enabled
    assert not isinstance(build(FROZEN).optim_wrapper, AutocastOptimWrapper)


def test_another_device_than_that_of_training_is_refused(build, monkeypatch):
    monkeypatch.setattr("amflow_mm.apis.model_benchmark.model_subject.get_device", lambda: "cuda")
    with pytest.raises(UserError, match="hide the GPU with CUDA_VISIBLE_DEVICES="):
        build(FROZEN)
