"""The record of a profile as tables."""

from collections.abc import Callable
from typing import Any

from amflow_mm.apis.reporting import Rows, format_markdown, format_text

NUM_OPERATORS = 12
"""Rows of the table of operators; the record holds all."""


def part_rows(record: dict[str, Any]) -> Rows:
    """Return a heading and one row a part: milliseconds of a step, and share."""
    parts = record["parts"]
    total = _sum(parts)
    rows = [["ms of a step", "forward", "backward", "both", "%"]]
    for part in [*parts, {"part": "all", **total}]:
        both = part["forward"] + part["backward"]
        share = 100 * both / ((total["forward"] + total["backward"]) or 1.0)
        times = [part["forward"], part["backward"], both]
        rows.append([part["part"], *(f"{time:.2f}" for time in times), f"{share:.1f}"])
    return rows


def operator_rows(record: dict[str, Any]) -> Rows:
    """Return a heading and one row for each of the dearest operators."""
    total = sum(_sum(record["parts"]).values()) or 1.0
    rows = [["operator, by itself", "calls of a step", "ms of a step", "%"]]
    for entry in record["operators"][:NUM_OPERATORS]:
        share = 100 * entry["self"] / total
        cells = [f"{entry['calls']:g}", f"{entry['self']:.2f}", f"{share:.1f}"]
        rows.append([f"`{entry['operator']}`", *cells])
    return rows


def describe_conditions(record: dict[str, Any]) -> str:
    """Return config, machine and versions in one line."""
    machine, options = record["machine"], record["options"]
    gpus = f", {machine['gpus'][0]}" if record["device"] == "cuda" else ""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        f"{record['config']}, {options['data']} clips, {record['batch_size']} a step, mean of "
        f"{options['steps']} steps under the profiler; {machine['processor']}, "
        f"{machine['threads']} threads{gpus}, load {machine['load']:g} before; {versions}"
    )


def print_profile(record: dict[str, Any]) -> str:
    """Return all tables of a profile as text."""
    return _lay_out(record, format_text)


def profile_as_markdown(record: dict[str, Any]) -> str:
    """Return all tables of a profile in Markdown."""
    return _lay_out(record, format_markdown)


def _lay_out(record: dict[str, Any], write: Callable[[Rows], str]) -> str:
    parts = [f"{describe_conditions(record)}."]
    if record["is_preliminary"]:
        parts.insert(0, "**Preliminary: the machine was not idle.**")
    tables = (part_rows(record), operator_rows(record))
    return "\n\n".join([*parts, *(write(rows) for rows in tables if len(rows) > 1)])


def _sum(parts: list[dict[str, Any]]) -> dict[str, float]:
    return {name: sum(part[name] for part in parts) for name in ("forward", "backward")}
