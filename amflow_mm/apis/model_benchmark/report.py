"""The record of a run as tables: plain text for the terminal, Markdown for the documents."""

from collections.abc import Callable
from typing import Any

from amflow_mm.apis.model_benchmark.subject import Mode
from amflow_mm.apis.model_benchmark.summary import Summary
from amflow_mm.apis.model_benchmark.targets import FIGURES
from amflow_mm.apis.reporting import (
    Rows,
    Spread,
    format_markdown,
    format_spread,
    format_text,
)

MIB = 2**20


def target_rows(summary: Summary) -> Rows:
    """Return a heading and one row for each figure that the run holds."""
    device = summary.run["options"]["device"]
    rows = [["figure", "target", "measured", "reached"]]
    for figure in FIGURES:
        measured = figure.measure(summary)
        if measured is None:
            continue
        target, sign = figure.target(device), "≥" if figure.is_floor else "≤"
        is_reached = figure.is_reached(device, measured)
        rows.append(
            [
                figure.title,
                "" if target is None else f"{sign} {target:.2f}",
                format_spread(measured, 3),
                {True: "yes", False: "no", None: ""}[is_reached],
            ]
        )
    return rows


def model_rows(summary: Summary) -> Rows:
    """Return a heading and one row a model: time, rate, share of the peak, memory, for a clip."""
    heading = ["model", "trained"]
    for title in ("forward", "training step"):
        heading += [f"{title}: GFLOP", "ms", "TFLOP/s", "% of peak"]
    rows = [[*heading, "peak MiB", "beyond weights"]]
    clips = summary.cases[0].batch_size
    for name in summary.names("model"):
        facts = summary.facts(name)
        row = [name, f"{facts['trainable']:,}"]
        for mode in ("forward", "step"):
            row += [f"{2e-9 * facts['macs'][mode] / clips:.1f}"]
            row += [_milliseconds(summary, name, mode, clips)]
            row += _rate_cells(summary, name, mode)
        peak, grown = summary.peak_bytes(name, "step"), summary.grown_bytes(name, "step")
        rows.append([*row, f"{peak / MIB:.0f}", f"{grown / MIB:.0f}"])
    return rows


def component_rows(summary: Summary) -> Rows:
    """Return a heading and one row a component, for a clip and a block."""
    rows = [["on its own", "GFLOP", "forward: ms", "with backward: ms", "peak MiB"]]
    clips = summary.cases[0].batch_size
    for name in summary.names("component"):
        macs = summary.facts(name)["macs"]
        both = _milliseconds(summary, name, "step", clips) if "step" in macs else ""
        rows.append(
            [
                name,
                f"{2e-9 * macs['forward'] / clips:.3f}",
                _milliseconds(summary, name, "forward", clips),
                both,
                f"{summary.grown_bytes(name, 'forward') / MIB:.1f}",
            ]
        )
    return rows


def growth_rows(summary: Summary) -> Rows:
    """Return a heading and one row a model: time of a frame in each case over the first case."""
    first, *others = summary.cases
    heading = [str(first), *(case.differences(first) for case in others)]
    rows = [["ms of a step, x linear growth", *heading]]
    for name in summary.names("model"):
        row = [name, _milliseconds(summary, name, "step", 1)]
        for number in range(1, len(summary.cases)):
            growth = summary.growth(name, "step", number)
            ratio = "" if growth is None else f", x {growth:.2f}"
            row.append(_milliseconds(summary, name, "step", 1, number) + ratio)
        rows.append(row)
    return rows


def describe_conditions(summary: Summary) -> str:
    """Return machine, versions and options of a run in one line."""
    run, peak = summary.run, summary.peak_flops()
    machine, options = run["machine"], run["options"]
    gpus = f", {machine['gpus'][0]}" if options["device"].startswith("cuda") else ""
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    where = f"{machine['processor']}, {machine['cpus']} cores, {machine['threads']} threads{gpus}"
    parts = [
        f"{where}, load {machine['load']:g} before",
        f"ViT-{_variant(options['variant'])}, {summary.cases[0]}",
        f"{options['repetitions']} interleaved repetitions, median (lowest-highest)",
        f"peak of products of matrices {1e-12 * peak:.3f} TFLOP/s",
    ]
    if options["is_compiled"]:
        parts.append("blocks compiled, but for the peers'")
    if run["agreement"] is not None:
        parts.append(f"AM flow is within {run['agreement']:.1e} of the maps written out")
    return "; ".join([*parts, versions])


def print_run(run: dict[str, Any]) -> str:
    """Return all tables of a run as text."""
    return _lay_out(Summary(run), format_text)


def run_as_markdown(run: dict[str, Any]) -> str:
    """Return all tables of a run in Markdown."""
    return _lay_out(Summary(run), format_markdown)


def _lay_out(summary: Summary, write: Callable[[Rows], str]) -> str:
    tables = [target_rows(summary), model_rows(summary), component_rows(summary)]
    if len(summary.cases) > 1:
        tables.append(growth_rows(summary))
    parts = [f"{describe_conditions(summary)}."]
    if summary.run["is_preliminary"]:
        parts.insert(0, "**Preliminary: the machine was not idle.**")
    return "\n\n".join([*parts, *(write(rows) for rows in tables if len(rows) > 1)])


def _milliseconds(summary: Summary, name: str, mode: Mode, clips: int, case: int = 0) -> str:
    times = summary.times(name, mode, case)
    if not times:
        return ""
    spread = Spread.of([1e3 * seconds / clips for seconds in times.values()])
    return format_spread(spread, 0 if spread.median >= 100 else 2)


def _rate_cells(summary: Summary, name: str, mode: Mode) -> list[str]:
    rate, share = summary.flops(name, mode), summary.share_of_peak(name, mode)
    return [
        "" if rate is None else f"{1e-12 * rate.median:.3f}",
        "" if share is None else f"{100 * share.median:.0f}",
    ]


def _variant(variant: str | dict[str, int]) -> str:
    return variant.upper() if isinstance(variant, str) else f"({variant['embed_dim']} wide)"
