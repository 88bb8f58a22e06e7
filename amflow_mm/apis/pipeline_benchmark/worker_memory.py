"""Memory of data workers over thousands of clips, and whether it grows.

What counts is a worker's own memory: pages that it alone has. It grows with leaks, and also when
a worker writes to pages that it shared with the main process after its start.
"""

import math
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from torch.utils.data import DataLoader

from amflow_mm.apis.pipeline_benchmark.processes import PROCESSES, family
from amflow_mm.apis.pipeline_benchmark.subject import Subject
from amflow_mm.errors import UserError
from amflow_mm.progress import track

NORMAL_95 = 1.96
"""Standard errors on either side that hold the truth 95 times in 100."""


@dataclass(frozen=True)
class MemorySample:
    """Memory of one worker, and of what runs below it, at one moment, in KiB.

    Attributes:
        worker: Its number.
        clips: That it has made.
        resident: In memory at all, shared pages counted in full.
        own: In no other process.
    """

    worker: int
    clips: int
    resident: int
    own: int


@dataclass(frozen=True)
class Growth:
    """Straight line through the own memory of all workers, each with a start of its own.

    Attributes:
        slope: KiB for each 1000 clips of a worker.
        margin: The slope is certain to 95 % within so much on either side, as far as samples are
            independent.
        num_samples: Looks that it rests on.
    """

    slope: float
    margin: float
    num_samples: int


def watch_workers(
    subject: Subject, *, num_clips: int, num_workers: int, batch_size: int, every: int
) -> list[MemorySample]:
    """Take clips through a DataLoader and look at its workers now and then.

    Args:
        subject: Pipeline and videos.
        num_clips: Of each worker.
        num_workers: Worker processes.
        batch_size: Clips of a batch.
        every: Clips of a worker between two looks, rounded up to whole batches.
    """
    _check_counts(num_clips, num_workers, batch_size, every)
    dataset = subject.build_dataset()
    rounds = math.ceil(num_clips / batch_size)
    plan = _rounds(len(dataset), num_batches=rounds * num_workers, batch_size=batch_size)
    others = multiprocessing.active_children()
    loader = DataLoader(
        dataset, batch_sampler=list(plan), num_workers=num_workers, collate_fn=subject.collate
    )
    step = math.ceil(every / batch_size)
    samples: list[MemorySample] = []
    batches = iter(loader)
    started = [child for child in multiprocessing.active_children() if child not in others]
    workers = [child.pid for child in sorted(started, key=lambda child: child.pid)]
    for number in track(range(1, rounds + 1), description="rounds of the workers"):
        for _ in range(num_workers):
            next(batches)
        if number % step == 0 and number < rounds:  # after the last batch they are gone
            clips = number * batch_size
            samples += [read_memory(pid, worker, clips) for worker, pid in enumerate(workers)]
    return samples


def read_memory(pid: int, worker: int, clips: int) -> MemorySample:
    """Ask the system for the memory of a process and of those below it, which may decode for it.

    Args:
        pid: Of the process.
        worker: Its number, for the sample.
        clips: That it has made, for the sample.
    """
    resident, own = _memory_of(pid)
    for child in family(pid)[1:]:
        more_resident, more_own = _memory_of(child)
        resident, own = resident + more_resident, own + more_own
    return MemorySample(worker, clips, resident, own)


def _memory_of(pid: int) -> tuple[int, int]:
    path = PROCESSES / str(pid) / "smaps_rollup"
    if not path.exists():
        raise UserError(f"{path} is missing: the memory of workers can be measured on Linux alone")
    lines = path.read_text(encoding="ascii").splitlines()[1:]
    sizes = {
        name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)
    }
    return sizes["Rss"], sizes["Private_Clean"] + sizes["Private_Dirty"]


def measure_growth(samples: Sequence[MemorySample], *, warm_up: int, window: int) -> Growth:
    """Fit the growth of the workers' own memory.

    A worker at work holds clips that it is about to send, ten times as much as what is looked for
    here. The lowest of many looks is what it holds at rest, and that is what the line goes through.

    Args:
        samples: From which at least three lowest looks come after the warm-up.
        warm_up: Clips of a worker that do not count: caches fill, libraries load.
        window: Clips of a worker out of which the lowest look is taken.
    """
    lowest: dict[tuple[int, int], MemorySample] = {}
    for sample in samples:
        key = sample.worker, sample.clips // window
        if sample.clips >= warm_up and (key not in lowest or sample.own < lowest[key].own):
            lowest[key] = sample
    workers = sorted({worker for worker, _ in lowest})
    freedom = len(lowest) - len(workers) - 1
    if freedom < 1:
        raise UserError(
            f"{len(lowest)} looks at {len(workers)} workers after {warm_up} clips are too few for "
            "a slope; raise --clips, or lower --every, --window or --warm-up"
        )
    x, y = np.empty(0), np.empty(0)
    for worker in workers:
        points = [(sample.clips, sample.own) for (w, _), sample in lowest.items() if w == worker]
        clips, own = np.array(points, np.float64).T
        x, y = np.append(x, clips - clips.mean()), np.append(y, own - own.mean())
    slope = float((x @ y) / (x @ x))
    error = math.sqrt(((y - slope * x) ** 2).sum() / freedom / (x @ x))
    return Growth(1000 * slope, 1000 * NORMAL_95 * error, len(lowest))


def draw_memory(
    samples: Sequence[MemorySample], path: str | Path, *, warm_up: int, title: str
) -> None:
    """Draw each worker's own memory over its clips; the warm-up is shaded.

    Args:
        samples: Of :func:`watch_workers`.
        path: Of the picture; its suffix gives the format.
        warm_up: Clips that do not count for the slope.
        title: Stands above.
    """
    figure = Figure(figsize=(7, 3.5), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    for worker in sorted({sample.worker for sample in samples}):
        line = [(sample.clips, sample.own / 1024) for sample in samples if sample.worker == worker]
        axes.plot(*zip(*line, strict=True), label=f"worker {worker}")
    axes.axvspan(0, warm_up, color="0.9")
    axes.set(xlabel="clips of the worker", ylabel="own memory, MiB", title=title)
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right")
    figure.savefig(path)


def _rounds(num_videos: int, *, num_batches: int, batch_size: int) -> Iterator[list[int]]:
    for number in range(num_batches):
        start = number * batch_size
        yield [(start + offset) % num_videos for offset in range(batch_size)]


def _check_counts(num_clips: int, num_workers: int, batch_size: int, every: int) -> None:
    counts = {"num_workers": num_workers, "batch_size": batch_size, "every": every}
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}={value} must be >= 1")
    if num_clips <= every:
        raise ValueError(f"num_clips={num_clips} must exceed every={every}, to look at least once")
