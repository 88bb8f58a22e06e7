"""A run measures everyone, in turn, in every mode."""

import cv2
import pytest
import torch

from amflow_mm.apis.pipeline_benchmark.benchmark import BenchmarkOptions, run_benchmark
from tests.apis.pipeline_benchmark.tiny_subject import tiny_subject


@pytest.fixture
def subjects(tmp_path):
    return [tiny_subject(tmp_path / name, name=name) for name in ("a", "b", "c")]


def test_order_moves_on_with_each_repetition(subjects):
    options = BenchmarkOptions(repetitions=3, seconds=0.0, modes=("process",))
    records = run_benchmark(subjects, options)
    order = [(record["repetition"], record["subject"]) for record in records]
    assert order == [
        *[(0, "a"), (0, "b"), (0, "c")],
        *[(1, "b"), (1, "c"), (1, "a")],
        *[(2, "c"), (2, "a"), (2, "b")],
    ]


def test_records_say_what_where_and_how(subjects):
    options = BenchmarkOptions(repetitions=1, seconds=0.0, num_workers=1, batch_size=2)
    records = run_benchmark(subjects[:1], options)
    assert [record["mode"] for record in records] == ["process", "loader", "transport"]
    for record in records:
        assert (record["subject"], record["videos"]) == ("a", "arrays")
        assert record["clips"] > 0
        assert record["seconds"] > 0


def test_files_that_cannot_be_dropped_leave_no_record(subjects, monkeypatch):
    monkeypatch.setattr(
        "amflow_mm.apis.pipeline_benchmark.measurement.drop_from_memory", lambda files: False
    )
    options = BenchmarkOptions(repetitions=1, seconds=0.0, modes=("cold", "process"))
    records = run_benchmark(subjects, options)
    assert {record["mode"] for record in records} == {"process"}


def test_threads_are_as_before_after_a_run(subjects):
    before = cv2.getNumThreads(), torch.get_num_threads()
    run_benchmark(subjects, BenchmarkOptions(repetitions=1, seconds=0.0, modes=("process",)))
    assert (cv2.getNumThreads(), torch.get_num_threads()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"repetitions": 0}, "repetitions=0 must be >= 1"),
        ({"num_workers": 0}, "num_workers=0 must be >= 1"),
        ({"batch_size": -1}, "batch_size=-1 must be >= 1"),
        ({"seconds": -1.0}, "seconds=-1.0 must be >= 0"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BenchmarkOptions(**options)


def test_unknown_mode_is_refused(subjects):
    options = BenchmarkOptions(repetitions=1, modes=("lukewarm",))
    with pytest.raises(ValueError, match="mode='lukewarm' must be one of"):
        run_benchmark(subjects, options)
