"""Growth is found where there is some, and not where there is none."""

import mmap
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

from amflow_mm.apis.pipeline_benchmark.worker_memory import (
    MemorySample,
    draw_memory,
    measure_growth,
    read_memory,
    watch_workers,
)
from amflow_mm.errors import UserError
from tests.apis.pipeline_benchmark.tiny_subject import tiny_subject

LEAK_KIB = 40
needs_linux = pytest.mark.skipif(
    not os.path.exists("/proc/self/smaps_rollup"), reason="memory of processes is read on Linux"
)


class Leak:
    """A step that keeps memory of each clip."""

    def __init__(self) -> None:
        self.kept = []

    def __call__(self, results: dict) -> dict:
        self.kept.append(np.ones(LEAK_KIB * 1024, np.uint8))
        return results


def line(worker: int, start: float, slope: float, noise=(0, 0, 0, 0)) -> list[MemorySample]:
    """Samples at 0, 100, 200 and 300 clips; slope in KiB a clip."""
    return [
        MemorySample(worker, 100 * k, 0, round(start + 100 * k * slope + noise[k]))
        for k in range(4)
    ]


def test_slope_of_straight_lines_is_exact_whatever_their_starts():
    growth = measure_growth(line(0, 500, 2) + line(1, 90_000, 2), warm_up=0, window=1)
    assert growth.slope == pytest.approx(2000)
    assert growth.margin == pytest.approx(0)
    assert growth.num_samples == 8


def test_margin_is_that_of_least_squares():
    noise = (10, -20, 10, 0)
    growth = measure_growth(line(0, 500, 2, noise), warm_up=0, window=1)
    x = np.arange(4) * 100.0
    (slope, offset), covariance = np.polyfit(x, 500 + 2 * x + noise, 1, cov=True)
    assert growth.slope == pytest.approx(1000 * slope)
    assert growth.margin == pytest.approx(1960 * np.sqrt(covariance[0, 0]))


def test_warm_up_does_not_count():
    samples = [MemorySample(0, 50, 0, 10**6), *line(0, 500, 1)[1:]]
    assert measure_growth(samples, warm_up=100, window=1).slope == pytest.approx(1000)
    assert measure_growth(samples, warm_up=0, window=1).slope < 0


def test_what_a_worker_is_about_to_send_does_not_count():
    samples = [
        MemorySample(0, clips, 0, 500 + clips + (9000 if clips % 3 else 0)) for clips in range(300)
    ]
    assert measure_growth(samples, warm_up=30, window=30).slope == pytest.approx(1000)


def test_too_few_samples_are_refused():
    with pytest.raises(UserError, match="2 looks at 1 workers after 150 clips are too few"):
        measure_growth(line(0, 500, 1), warm_up=150, window=1)


@needs_linux
def test_own_memory_is_part_of_what_is_resident():
    before = read_memory(os.getpid(), 3, 17)
    with mmap.mmap(-1, 20 << 20, flags=mmap.MAP_PRIVATE) as block:  # never memory used before
        block.write(b"x" * len(block))
        after = read_memory(os.getpid(), 3, 17)
    assert (before.worker, before.clips) == (3, 17)
    assert 0 < before.own <= before.resident
    assert after.own - before.own > 15 << 10


def test_processes_that_are_gone_are_told():
    with pytest.raises(UserError, match="can be measured on Linux alone"):
        read_memory(2**22 + 1, 0, 0)


@needs_linux
def test_leak_is_found_in_every_worker(tmp_path):
    subject = tiny_subject(tmp_path)
    subject = replace(subject, tail=(*subject.tail, dict(type=Leak)))
    samples = watch_workers(subject, num_clips=200, num_workers=2, batch_size=4, every=20)
    assert {sample.worker for sample in samples} == {0, 1}
    assert [sample.clips for sample in samples if sample.worker == 1] == list(range(20, 200, 20))
    growth = measure_growth(samples, warm_up=40, window=20)
    # Workers are a few batches ahead of what has arrived, by as much at each look.
    assert growth.slope == pytest.approx(1000 * LEAK_KIB, rel=0.25)


def test_picture_is_drawn(tmp_path):
    path = tmp_path / "memory.png"
    draw_memory(line(0, 5e4, 1) + line(1, 6e4, 1), path, warm_up=100, title="two workers")
    assert cv2.imread(str(path)).std() > 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 10}, "num_clips=10 must exceed every=10"),
        ({"num_workers": 0}, "num_workers=0 must be >= 1"),
        ({"batch_size": 0}, "batch_size=0 must be >= 1"),
    ],
)
def test_impossible_counts_are_refused(tmp_path, options, message):
    counts = {"num_clips": 10, "num_workers": 1, "batch_size": 2, "every": 2, **options}
    with pytest.raises(ValueError, match=message):
        watch_workers(tiny_subject(tmp_path), **counts)
