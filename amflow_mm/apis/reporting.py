"""What reports of measurements share: medians, tables, pages with tables, facts of a run."""

import os
import platform
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amflow_mm.engine.reproducibility import collect_versions, describe_machine, find_git_commit
from amflow_mm.errors import UserError

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

Rows = list[list[str]]


@dataclass(frozen=True)
class Spread:
    """Middle and range of the values of all repetitions."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise values, at least one."""
        return cls(statistics.median(values), min(values), max(values))


def format_spread(spread: Spread, digits: int) -> str:
    """Write a median and its range."""
    if spread.low == spread.high:
        return f"{spread.median:.{digits}f}"
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f}-{spread.high:.{digits}f})"


def format_text(rows: Rows) -> str:
    """Lay a table out in columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def format_markdown(rows: Rows) -> str:
    """Write a table in Markdown."""
    heading, *body = [f"| {' | '.join(row)} |" for row in rows]
    rule = f"|---|{'---:|' * (len(rows[0]) - 1)}"
    return "\n".join([heading, rule, *body])


def page_with_results(page: Path, results: str) -> str:
    """Return the text of a page with other results between its markers.

    Args:
        page: Markdown with a line ``BEGIN`` and a line ``END``.
        results: Markdown that stands between them.
    """
    text = page.read_text(encoding="utf-8")
    match = re.fullmatch(f"(.*{BEGIN}\n)(.*)({END}.*)", text, re.DOTALL)
    if match is None or text.count(BEGIN) + text.count(END) != 2:
        raise UserError(f"{page} must hold a line {BEGIN} and a line {END}, once each")
    return f"{match[1]}\n{results}\n\n{match[3]}"


def relative_link(target: Path, page: Path) -> str:
    """Return how a page points to a file."""
    return Path(os.path.relpath(target, page.parent)).as_posix()


def describe_run() -> dict[str, Any]:
    """Return time, commit, machine with its load, and versions."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git_commit": find_git_commit(),
        "machine": describe_machine()
        | {"processor": _processor(), "load": round(os.getloadavg()[0], 2)},
        "versions": collect_versions(),
    }


def _processor() -> str:
    """Return the name of the processor, as far as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:  # not Linux
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
