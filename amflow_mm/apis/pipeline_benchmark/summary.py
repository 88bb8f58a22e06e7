"""Medians, spreads and ratios of the measurements of a run."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amflow_mm.apis.reporting import Spread

Record = dict[str, Any]


@dataclass(frozen=True)
class Speed:
    """How fast a subject is in one mode.

    Attributes:
        rate: Clips a second.
        per_core: Clips per second of processor time; None where that is not known.
        ratio: Rate over that of the baseline in the same repetition; None where the baseline was
            not measured.
        stages: Milliseconds a clip of each stage, median of the repetitions.
    """

    rate: Spread
    per_core: Spread | None
    ratio: Spread | None
    stages: dict[str, float]


def summarize(records: Sequence[Record], baseline: str) -> dict[tuple[str, str, str], Speed]:
    """Return the speed for each (videos, subject, mode), in the order of the measurements.

    Args:
        records: Of :func:`run_benchmark`.
        baseline: Name of the subject that all on the same videos are compared with.
    """
    groups: dict[tuple[str, str, str], list[Record]] = {}
    order = {name: rank for rank, name in enumerate(_in_order(records))}
    for record in sorted(records, key=lambda record: order[record["subject"]]):
        key = record["videos"], record["subject"], record["mode"]
        groups.setdefault(key, []).append(record)
    return {
        (videos, subject, mode): _speed(group, groups.get((videos, baseline, mode), []))
        for (videos, subject, mode), group in groups.items()
    }


def _in_order(records: Sequence[Record]) -> list[str]:
    """Return the subjects in the order of the first repetition, which is the order given."""
    return list(dict.fromkeys(record["subject"] for record in records))


def _speed(group: list[Record], baseline: list[Record]) -> Speed:
    rates, others = _rates(group), _rates(baseline)
    ratios = [
        rates[repetition] / others[repetition] for repetition in rates if repetition in others
    ]
    # A tick of the system's clock is a hundredth of a second: short measurements may show none.
    known = [record for record in group if record["cpu_seconds"]]
    per_core = [record["clips"] / record["cpu_seconds"] for record in known]
    stages = {
        name: statistics.median(1e3 * record["stages"][name] / record["clips"] for record in group)
        for name in group[0]["stages"]
    }
    return Speed(
        rate=Spread.of(list(rates.values())),
        per_core=Spread.of(per_core) if len(per_core) == len(group) else None,
        ratio=Spread.of(ratios) if ratios else None,
        stages=stages,
    )


def _rates(group: list[Record]) -> dict[int, float]:
    """Return the clips a second of each repetition."""
    return {record["repetition"]: record["clips"] / record["seconds"] for record in group}
