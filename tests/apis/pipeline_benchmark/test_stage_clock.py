"""The clock of the steps adds up and changes nothing."""

import pytest
import torch
from mmaction.datasets.transforms import Resize

from amflow_mm.apis.pipeline_benchmark import stage_clock
from amflow_mm.apis.pipeline_benchmark.stage_clock import StageClock
from tests.apis.pipeline_benchmark.tiny_subject import tiny_subject


@pytest.fixture
def seconds(monkeypatch):
    """A clock that is one second on at each look."""
    moments = iter(range(1000))
    monkeypatch.setattr(stage_clock.time, "perf_counter", lambda: float(next(moments)))


def test_each_step_is_timed_once_a_clip(tmp_path, seconds):
    dataset = tiny_subject(tmp_path).build_dataset()
    clock = StageClock(dataset)
    for index in range(3):
        _ = dataset[index]
    assert clock.read() == {"LoadClip": 3.0, "FormatShape": 3.0, "PackActionInputs": 3.0}
    clock.reset()
    assert set(clock.read().values()) == {0.0}
    _ = dataset[0]
    assert set(clock.read().values()) == {1.0}


def test_samples_are_those_without_a_clock(tmp_path):
    subject = tiny_subject(tmp_path)
    plain, timed = subject.build_dataset(), subject.build_dataset()
    StageClock(timed)
    assert torch.equal(plain[1]["inputs"], timed[1]["inputs"])


def test_steps_of_one_name_are_told_apart():
    names = ["Resize", "Flip", "Resize", "Resize"]
    assert stage_clock._distinct(names) == ["Resize", "Flip", "Resize 2", "Resize 3"]


def test_resizing_is_named_by_its_size():
    steps = [Resize(scale=(-1, 256)), Resize(scale=(224, 112), keep_ratio=False), Resize(scale=0.5)]
    assert [stage_clock._name(step) for step in steps] == ["Resize 256", "Resize 224x112", "Resize"]
