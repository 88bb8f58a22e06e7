"""Processes below a process, which decoders and data workers are, and the time that they take."""

import os
import time
from pathlib import Path

PROCESSES = Path("/proc")


def family(pid: int) -> list[int]:
    """Return a process and all below it; those that end meanwhile may be missing."""
    members = [pid]
    for member in members:  # grows on the way
        for listing in PROCESSES.glob(f"{member}/task/*/children"):
            try:
                members += map(int, listing.read_text(encoding="ascii").split())
            except (FileNotFoundError, ProcessLookupError):  # a thread that has ended
                continue
    return members


class ProcessorTime:
    """Processor time of this process and all below it, from now on."""

    def __init__(self) -> None:
        self._start = _read_all()

    def read(self) -> float | None:
        """Return the seconds of all that still live; None where the system does not tell."""
        end = _read_all()
        if not PROCESSES.is_dir():
            return None
        return sum(seconds - self._start.get(pid, 0.0) for pid, seconds in end.items())


def _read_all() -> dict[int, float]:
    own = os.getpid()
    others = {pid: _seconds_of(pid) for pid in family(own)[1:]}
    return {own: time.process_time()} | {p: s for p, s in others.items() if s is not None}


def _seconds_of(pid: int) -> float | None:
    """Return the processor time of a process; None if it has ended."""
    try:
        text = (PROCESSES / str(pid) / "stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name of the program may hold blanks and brackets; what follows does not.
    after_name = text.rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
