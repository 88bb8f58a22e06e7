"""What is measured: something that can be run forward and, if it trains, for a step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

Mode = Literal["forward", "step"]
MODES: tuple[Mode, ...] = ("forward", "step")

Group = Literal["model", "component", "machine"]


class Subject(ABC):
    """One line of a table.

    Args:
        name: Heads the line.
        group: Which table.
        macs: Multiply-accumulates of a run in each mode that it has.
    """

    def __init__(self, name: str, group: Group, macs: Mapping[Mode, int]) -> None:
        self.name = name
        self.group = group
        self.macs = dict(macs)

    @abstractmethod
    def run(self, mode: Mode) -> None:
        """Do the work once."""

    def prepare(self, mode: Mode) -> None:
        """Do what must precede a run in a mode and is not measured."""
        del mode

    def held_bytes(self) -> int:
        """Return the memory that it takes at rest: weights and state of the optimiser."""
        return 0

    def facts(self) -> dict[str, Any]:
        """Return what a record tells beside the measurements."""
        return {"subject": self.name, "group": self.group, "macs": self.macs}
