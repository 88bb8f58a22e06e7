"""Medians, ratios within each repetition, shares of the peak: what tables are made of."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amflow_mm.apis.model_benchmark.case import Case
from amflow_mm.apis.model_benchmark.subject import Group, Mode
from amflow_mm.apis.reporting import Spread

Times = dict[int, float]
"""Seconds of one run by repetition."""


@dataclass(frozen=True)
class Summary:
    """A record, ready to be asked.

    Args:
        run: Of ``benchmark_models``.
    """

    run: dict[str, Any]

    @cached_property
    def cases(self) -> list[Case]:
        """What was measured; the first is the one that the others differ from."""
        return [Case(**case) for case in self.run["cases"]]

    def names(self, group: Group, case: int = 0) -> list[str]:
        """Return the subjects of a table in their order."""
        return [
            facts["subject"]
            for facts in self.run["subjects"]
            if (facts["group"], facts["case"]) == (group, case)
        ]

    def facts(self, subject: str, case: int = 0) -> dict[str, Any] | None:
        """Return what the record tells of a subject; None if it did not take part."""
        return self._facts.get((case, subject))

    def times(self, subject: str, mode: Mode, case: int = 0) -> Times:
        """Return the seconds of a run in each repetition; none if it was not measured."""
        return self._times.get((case, subject, mode), {})

    def time_ratio(self, over: str, under: str, mode: Mode) -> Spread | None:
        """Compare two subjects, each repetition by itself; None if one was not measured."""
        first, second = self.times(over, mode), self.times(under, mode)
        ratios = [first[number] / second[number] for number in first if number in second]
        return Spread.of(ratios) if ratios else None

    def growth(self, subject: str, mode: Mode, case: int) -> float | None:
        """Return the time of a clip's frame over that in the first case: 1 where growth is linear.

        The two cases were measured one after the other, so medians are compared.
        """
        here, first = self.times(subject, mode, case), self.times(subject, mode)
        if not here or not first:
            return None
        frames = [self.cases[number].frames * self.cases[number].batch_size for number in (case, 0)]
        return (
            Spread.of([*here.values()]).median
            / Spread.of([*first.values()]).median
            * (frames[1] / frames[0])
        )

    def flops(self, subject: str, mode: Mode, case: int = 0) -> Spread | None:
        """Return the operations a second, a multiplication and an addition being two."""
        facts = self.facts(subject, case)
        times = self.times(subject, mode, case)
        if facts is None or not times:
            return None
        return Spread.of([2 * facts["macs"][mode] / seconds for seconds in times.values()])

    def peak_flops(self, case: int = 0) -> float | None:
        """Return the best that a product of matrices reached, in any size and repetition."""
        rates = [self.flops(name, "forward", case) for name in self.names("machine", case)]
        return max((rate.high for rate in rates if rate is not None), default=None)

    def share_of_peak(self, subject: str, mode: Mode, case: int = 0) -> Spread | None:
        """Return the operations a second as a fraction of the peak."""
        rate, peak = self.flops(subject, mode, case), self.peak_flops(case)
        if rate is None or peak is None:
            return None
        return Spread(rate.median / peak, rate.low / peak, rate.high / peak)

    def grown_bytes(self, subject: str, mode: Mode, case: int = 0) -> int | None:
        """Return the peak memory of a run beyond what is held at rest."""
        entry = self._memory.get((case, subject, mode))
        return entry and entry["grown_bytes"]

    def peak_bytes(self, subject: str, mode: Mode, case: int = 0) -> int | None:
        """Return the peak memory with weights and state of the optimiser."""
        entry = self._memory.get((case, subject, mode))
        return entry and entry["held_bytes"] + entry["grown_bytes"]

    @cached_property
    def _facts(self) -> dict[tuple[int, str], dict[str, Any]]:
        return {(facts["case"], facts["subject"]): facts for facts in self.run["subjects"]}

    @cached_property
    def _times(self) -> dict[tuple[int, str, str], Times]:
        times: dict[tuple[int, str, str], Times] = {}
        for entry in self.run["measurements"]:
            key = entry["case"], entry["subject"], entry["mode"]
            times.setdefault(key, {})[entry["repetition"]] = entry["seconds"] / entry["runs"]
        return times

    @cached_property
    def _memory(self) -> dict[tuple[int, str, str], dict[str, Any]]:
        return {
            (entry["case"], entry["subject"], entry["mode"]): entry for entry in self.run["memory"]
        }
