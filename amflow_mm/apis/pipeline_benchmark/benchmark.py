"""All subjects in one run, turn and turn about, so that a busy machine disturbs all alike."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import torch

from amflow_mm.apis.pipeline_benchmark.measurement import (
    Measurement,
    Mode,
    measure_cold,
    measure_in_process,
    measure_loader,
    measure_transport,
)
from amflow_mm.apis.pipeline_benchmark.page_cache import warm_up
from amflow_mm.apis.pipeline_benchmark.subject import Subject
from amflow_mm.progress import track


@dataclass(frozen=True)
class BenchmarkOptions:
    """How to measure.

    Attributes:
        repetitions: Times that every subject is measured in every mode.
        seconds: Shortest time of one measurement.
        num_workers: Of the DataLoader.
        batch_size: Of the DataLoader.
        modes: What is measured.
        seed: Of the frames and crops that are drawn; a repetition adds its number.
    """

    repetitions: int = 5
    seconds: float = 1.0
    num_workers: int = 2
    batch_size: int = 8
    modes: tuple[Mode, ...] = ("process", "loader", "transport")
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("repetitions", "num_workers", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be >= 1")
        if self.seconds < 0:
            raise ValueError(f"seconds={self.seconds} must be >= 0")


def run_benchmark(subjects: Sequence[Subject], options: BenchmarkOptions) -> list[dict[str, Any]]:
    """Measure all subjects in all modes and return a record of each measurement.

    The order within a repetition moves on by one each time, so that none always follows the same.

    Args:
        subjects: Prepared: whatever caches they read are filled.
        options: How to measure.
    """
    turns = [
        (mode, repetition, subjects[(position + repetition) % len(subjects)])
        for repetition in range(options.repetitions)
        for mode in options.modes
        for position in range(len(subjects))
    ]
    records = []
    with _one_thread():
        for mode, repetition, subject in track(turns, description="measurements"):
            measured = _measure(mode, subject, options, seed=options.seed + repetition)
            if measured is not None:
                place = {"subject": subject.name, "videos": subject.videos, "mode": mode}
                records.append(place | {"repetition": repetition} | asdict(measured))
    return records


def _measure(
    mode: Mode, subject: Subject, options: BenchmarkOptions, *, seed: int
) -> Measurement | None:
    if mode == "cold":
        return measure_cold(subject, seed=seed)
    warm_up(subject.files)
    common = {"seconds": options.seconds, "seed": seed}
    if mode == "process":
        return measure_in_process(subject, **common)
    common["batch_size"] = options.batch_size
    if mode == "loader":
        return measure_loader(subject, num_workers=options.num_workers, **common)
    if mode == "transport":
        return measure_transport(subject, **common)
    raise ValueError(f"mode={mode!r} must be one of 'process', 'cold', 'loader', 'transport'")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep OpenCV and PyTorch to one thread, as MMEngine does for its workers."""
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])
