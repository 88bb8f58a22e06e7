"""One measurement of one subject: time, or the peak of its memory."""

import time
from collections.abc import Callable

import torch
from torch.autograd.profiler import profile

from amflow_mm.apis.model_benchmark.subject import Mode, Subject

MEMORY_EVENT = "[memory]"
"""Name under which torch's profiler records an allocation or its end."""


def measure_time(
    subject: Subject, mode: Mode, device: torch.device, *, seconds: float
) -> tuple[int, float]:
    """Run a subject until so many seconds have passed, at least once.

    Args:
        subject: Warmed up.
        mode: Forward or step.
        device: Waited for, before and after.
        seconds: Shortest time.

    Returns:
        Number of runs and the seconds that they took.
    """
    subject.prepare(mode)
    wait_for(device)
    runs, start = 0, time.perf_counter()
    while not runs or time.perf_counter() - start < seconds:
        subject.run(mode)
        wait_for(device)
        runs += 1
    return runs, time.perf_counter() - start


def measure_growth(run: Callable[[], None], device: torch.device) -> int:
    """Return the bytes of tensors that exist at once at most while something runs, beyond before.

    On a GPU its allocator tells. On a CPU the profiler of torch records every allocation and its
    end, those inside of operators too, and the largest sum so far is the peak. The resident memory
    of the process would also hold what the heap keeps of runs before, and never shrinks; the count
    is the same in each run and for each order of subjects. Left out on both are buffers that
    libraries allocate past torch.

    Args:
        run: What to watch.
        device: Where its tensors are.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(profile_memory=True) as recorded:
        run()
    events = [event for event in recorded.kineto_results.events() if event.name() == MEMORY_EVENT]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def wait_for(device: torch.device) -> None:
    """Let a device finish what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
