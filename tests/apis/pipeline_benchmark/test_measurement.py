"""What a measurement counts: whole rounds, all stages, the batches of all workers."""

import multiprocessing
from dataclasses import replace

import pytest
from mmengine.dataset import pseudo_collate

from amflow_mm.apis.pipeline_benchmark import measurement
from amflow_mm.apis.pipeline_benchmark.measurement import (
    STACK,
    TRANSPORT,
    measure_cold,
    measure_in_process,
    measure_loader,
    measure_transport,
)
from amflow_mm.datasets.packed_collate import packed_collate
from tests.apis.pipeline_benchmark.tiny_subject import NUM_VIDEOS, tiny_subject

STEPS = ["LoadClip", "FormatShape", "PackActionInputs"]


def test_one_round_at_least_and_only_whole_rounds(tmp_path):
    subject = tiny_subject(tmp_path)
    once = measure_in_process(subject, seconds=0.0, seed=0)
    assert once.clips == NUM_VIDEOS
    longer = measure_in_process(subject, seconds=0.05, seed=0)
    assert longer.clips > NUM_VIDEOS
    assert longer.clips % NUM_VIDEOS == 0
    assert longer.seconds >= 0.05


def test_stages_are_the_steps_and_take_no_more_than_the_whole(tmp_path):
    measured = measure_in_process(tiny_subject(tmp_path), seconds=0.0, seed=0)
    assert list(measured.stages) == STEPS
    assert 0 < sum(measured.stages.values()) <= measured.seconds


def test_cold_measurement_reads_each_video_once_or_says_that_it_cannot(tmp_path, monkeypatch):
    subject = tiny_subject(tmp_path)
    monkeypatch.setattr(measurement, "drop_from_memory", lambda files: files == subject.files)
    assert measure_cold(subject, seed=0).clips == NUM_VIDEOS
    assert measure_cold(replace(subject, files=()), seed=0) is None


def test_loader_is_measured_over_whole_rounds_of_its_workers(tmp_path):
    subject = tiny_subject(tmp_path)
    measured = measure_loader(subject, seconds=0.0, seed=0, num_workers=2, batch_size=2)
    assert measured.clips == 2 * 2
    assert measured.seconds > 0
    assert measured.cpu_seconds is None or measured.cpu_seconds >= 0
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("collate", [pseudo_collate, packed_collate])
def test_transport_is_measured_batch_by_batch(tmp_path, collate):
    subject = replace(tiny_subject(tmp_path), collate=collate)
    measured = measure_transport(subject, seconds=0.0, seed=0, batch_size=2)
    assert measured.clips == 2
    assert list(measured.stages) == [TRANSPORT, STACK]
    assert min(measured.stages.values()) > 0
    assert measured.seconds == pytest.approx(sum(measured.stages.values()))
    assert multiprocessing.active_children() == []
