"""From the events of a trace to milliseconds of each part, forward and backward apart."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal, NamedTuple

from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent

from amflow_mm.apis.profiling.regions import PREFIX, REST

Direction = Literal["forward", "backward"]

BACKWARD_SCOPE = 1
"""Of ``torch::RecordScope``: a node of the backward graph."""

ENGINE = "autograd::engine::evaluate_function: "
"""Begins the names of what the engine does around a node."""

Origin = tuple[int, int]
"""Thread and number of a forward operator, by which autograd tells whence a node came."""


class Owner(NamedTuple):
    """To whom time belongs."""

    part: str
    direction: Direction


def time_by_part(events: Iterable[FunctionEvent], *, on_device: bool) -> Counter[Owner]:
    """Return the microseconds of each part in each direction.

    A forward operator belongs to the innermost region around it. A node of the backward graph
    belongs to the part whose operator made it, by the number that autograd gives both; what is
    recomputed within it counts as backward of its own region. Accumulating gradients of
    parameters has no such number and is the rest.

    Args:
        events: Of one profile; what stands outside of all regions is left out.
        on_device: Count the time of kernels on the GPU, else that of the processor.
    """
    calls = [event for event in events if event.device_type == DeviceType.CPU]
    makers = _makers(calls)
    spent: Counter[Owner] = Counter()
    for event in calls:
        owner = _owner(event, makers)
        if owner is not None:
            spent[owner] += event.self_device_time_total if on_device else event.self_cpu_time_total
    return spent


def _makers(calls: list[FunctionEvent]) -> dict[Origin, str]:
    """Return the part of each operator that made a node of the backward graph.

    Operators around it carry the same number, and those before it that made no node: the last to
    start is the one.
    """
    makers: dict[Origin, str] = {}
    for event in sorted(calls, key=lambda event: event.time_range.start):
        if event.sequence_nr < 0 or _is_node(event):
            continue
        part, _ = _surroundings(event)
        if part is not None:
            makers[event.thread, event.sequence_nr] = part
    return makers


def _owner(event: FunctionEvent, makers: dict[Origin, str]) -> Owner | None:
    part, node = _surroundings(event)
    if node is None:
        return None if part is None else Owner(part, "forward")
    if part is None:
        part = makers.get((node.fwd_thread, node.sequence_nr), REST)
    return Owner(part, "backward")


def _surroundings(event: FunctionEvent) -> tuple[str | None, FunctionEvent | None]:
    """Return the innermost region, unless a node stands further inside, and the node around."""
    part: str | None = None
    here: FunctionEvent | None = event
    while here is not None:
        if _is_node(here):
            return part, here
        if part is None and here.name.startswith(PREFIX):
            part = here.name.removeprefix(PREFIX)
        here = here.cpu_parent
    return part, None


def _is_node(event: FunctionEvent) -> bool:
    return event.scope == BACKWARD_SCOPE or event.name.startswith(ENGINE)
