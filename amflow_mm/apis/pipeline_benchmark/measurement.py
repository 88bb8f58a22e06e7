"""One measurement of one subject: in this process, through a DataLoader, or of the way between."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from torch.utils.data import DataLoader, Dataset

from amflow_mm.apis.pipeline_benchmark.page_cache import drop_from_memory
from amflow_mm.apis.pipeline_benchmark.processes import ProcessorTime
from amflow_mm.apis.pipeline_benchmark.stage_clock import StageClock
from amflow_mm.apis.pipeline_benchmark.subject import Subject
from amflow_mm.datasets.planned_clip import render_clips

Mode = Literal["process", "cold", "loader", "transport"]

TRANSPORT, STACK = "to the main process", "into a batch"
"""Names of the stages between a worker's pipeline and the model's batch."""


@dataclass(frozen=True)
class Measurement:
    """What one look at a subject gave.

    Attributes:
        clips: That were made.
        seconds: On the clock.
        cpu_seconds: Of all processes together; None where the system does not tell.
        stages: Seconds of each stage, all clips together.
    """

    clips: int
    seconds: float
    cpu_seconds: float | None = None
    stages: dict[str, float] = field(default_factory=dict)


def measure_in_process(subject: Subject, *, seconds: float, seed: int) -> Measurement:
    """Make clips in this process, one thread, step by step.

    Args:
        subject: What to measure.
        seconds: Whole rounds through the videos are made until so many have passed.
        seed: Of the frames and crops that are drawn.
    """
    dataset = subject.build_dataset()
    clock = StageClock(dataset)
    _ = dataset[0]  # imports and caches of the first clip
    return _time_rounds(dataset, clock, seconds=seconds, seed=seed)


def measure_cold(subject: Subject, *, seed: int) -> Measurement | None:
    """Make each clip once after the system has forgotten the files; None where it does not.

    Args:
        subject: What to measure.
        seed: Of the frames and crops that are drawn.
    """
    dataset = subject.build_dataset()
    if not drop_from_memory(subject.files):
        return None
    return _time_rounds(dataset, StageClock(dataset), seconds=0.0, seed=seed)


def _time_rounds(
    dataset: BaseDataset, clock: StageClock, *, seconds: float, seed: int
) -> Measurement:
    _seed_all(seed)
    clock.reset()
    clips = 0
    processor, start = ProcessorTime(), time.perf_counter()
    while not clips or time.perf_counter() - start < seconds:
        for index in range(len(dataset)):
            _ = dataset[index]
        clips += len(dataset)
    elapsed = time.perf_counter() - start
    return Measurement(clips, elapsed, processor.read(), clock.read())


def measure_loader(
    subject: Subject, *, seconds: float, seed: int, num_workers: int, batch_size: int
) -> Measurement:
    """Take clips from a DataLoader as fast as its workers make them.

    From the arrival of one batch to that of another, a whole number of rounds of the workers
    later: what is in flight at the start is matched by what is in flight at the end.

    Args:
        subject: What to measure.
        seconds: Stop after so many, at the next whole round.
        seed: Of the frames and crops that are drawn.
        num_workers: Worker processes.
        batch_size: Clips of a batch.
    """
    _seed_all(seed)
    dataset = subject.build_dataset()
    batches = _open_loader(subject, dataset, num_workers, batch_size, prefetch=2)
    try:
        for _ in range(2 * num_workers):
            next(batches)
        processor, start = ProcessorTime(), time.perf_counter()
        done, elapsed = 0, 0.0
        while not done or elapsed < seconds:
            for _ in range(num_workers):
                next(batches)
            done += num_workers
            elapsed = time.perf_counter() - start
        used = processor.read()
    finally:
        del batches  # ends the workers
    return Measurement(done * batch_size, elapsed, used)


def measure_transport(
    subject: Subject, *, seconds: float, seed: int, batch_size: int
) -> Measurement:
    """Time the way of a batch from the worker that made it to a stacked tensor here.

    One worker with nothing else in hand, while this process waits: collation, shared memory and
    queue stand in the first stage, the second is what the model's preprocessor does first: geometry
    that was left to the device, here done on the CPU, and the stack of the clips.

    Args:
        subject: What to measure.
        seconds: Stop after so many.
        seed: Of the frames and crops that are drawn.
        batch_size: Clips of a batch.
    """
    _seed_all(seed)
    dataset = _Stamped(subject.build_dataset())
    batches = _open_loader(subject, dataset, 1, batch_size, prefetch=1)
    try:
        clips, stages = 0, {TRANSPORT: 0.0, STACK: 0.0}
        start = time.perf_counter()
        while not clips or time.perf_counter() - start < seconds:
            next(batches)  # made while this process was busy; it had to wait
            batch = next(batches)
            arrived = time.monotonic()
            stages[TRANSPORT] += arrived - max(batch["finished"])
            torch.stack(render_clips(batch["sample"]["inputs"]))
            stages[STACK] += time.monotonic() - arrived
            clips += batch_size
    finally:
        del batches  # ends the worker
    return Measurement(clips, sum(stages.values()), None, stages)


class _Stamped(Dataset):
    """Samples with the moment at which they were made, on the clock that all processes share."""

    def __init__(self, dataset: BaseDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sample = self._dataset[index]
        return {"sample": sample, "finished": time.monotonic()}


class _EndlessBatches:
    """Batches of indices that go round and round."""

    def __init__(self, num_samples: int, batch_size: int) -> None:
        self._num_samples, self._batch_size = num_samples, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        start = 0
        while True:
            yield [(start + k) % self._num_samples for k in range(self._batch_size)]
            start += self._batch_size


def _open_loader(
    subject: Subject, dataset: Dataset, num_workers: int, batch_size: int, *, prefetch: int
) -> Iterator[dict[str, Any]]:
    loader = DataLoader(
        dataset,
        batch_sampler=_EndlessBatches(len(dataset), batch_size),
        num_workers=num_workers,
        prefetch_factor=prefetch,
        collate_fn=subject.collate,
        worker_init_fn=_seed_worker,
    )
    return iter(loader)


def _seed_worker(number: int) -> None:
    _seed_all(torch.initial_seed() % 2**31 + number)


def _seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
