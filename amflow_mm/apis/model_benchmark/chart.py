"""The record of a run as a picture: what each model costs, and how cost grows."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amflow_mm.apis.model_benchmark.subject import Mode
from amflow_mm.apis.model_benchmark.summary import Summary
from amflow_mm.apis.reporting import Spread

FORWARD_COLOUR, STEP_COLOUR = "#9a9a9a", "#2b6cb0"
AXES = {"frames": "frames of a clip", "batch_size": "clips at once"}


def draw_chart(run: dict[str, Any], path: str | Path) -> None:
    """Draw forward pass and training step of each model, and a step over frames and batch.

    Lines of the bars span the repetitions. In the panels of growth both axes are logarithmic and
    grey lines mark linear growth.

    Args:
        run: Record of a run.
        path: Of the picture; its suffix gives the format.
    """
    summary = Summary(run)
    grown = {axis: numbers for axis in AXES if len(numbers := _cases_along(summary, axis)) > 1}
    names = summary.names("model")
    size = (6.5 + 4.2 * len(grown), 0.5 * len(names) + 1.6)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    panels = figure.subplots(
        1, 1 + len(grown), squeeze=False, width_ratios=[1.4] + [1.0] * len(grown)
    )[0]
    _draw_bars(panels[0], summary, names)
    for axes, (axis, numbers) in zip(panels[1:], grown.items(), strict=True):
        _draw_growth(axes, summary, axis, numbers)
    if grown:
        panels[1].legend(fontsize=7)
    figure.suptitle(str(summary.cases[0]), fontsize=10)
    figure.savefig(path)


def _cases_along(summary: Summary, axis: str) -> list[int]:
    """Return the cases that differ from the first in one respect alone, and the first."""
    first = vars(summary.cases[0])
    return [
        number
        for number, case in enumerate(summary.cases)
        if all(value == first[name] for name, value in vars(case).items() if name != axis)
    ]


def _draw_bars(axes: Axes, summary: Summary, names: list[str]) -> None:
    clips = summary.cases[0].batch_size
    modes: tuple[tuple[Mode, str, float, str], ...] = (
        ("forward", "forward", -0.2, FORWARD_COLOUR),
        ("step", "training step", 0.2, STEP_COLOUR),
    )
    for mode, label, shift, colour in modes:
        for place, name in enumerate(names):
            times = [1e3 * seconds / clips for seconds in summary.times(name, mode).values()]
            spread = Spread.of(times)
            title = label if place == 0 else None
            axes.barh(place + shift, spread.median, height=0.38, color=colour, label=title)
            axes.plot([spread.low, spread.high], [place + shift] * 2, color="black", linewidth=1)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)  # from top to bottom
    axes.set_xlabel("ms a clip")
    axes.legend(fontsize=8)


def _draw_growth(axes: Axes, summary: Summary, axis: str, numbers: list[int]) -> None:
    numbers = sorted(numbers, key=lambda number: getattr(summary.cases[number], axis))
    x = [getattr(summary.cases[number], axis) for number in numbers]
    for name in summary.names("model"):
        times = [summary.times(name, "step", number).values() for number in numbers]
        y = [1e3 * Spread.of([*seconds]).median for seconds in times]
        axes.plot(x, [y[0] * value / x[0] for value in x], color="0.8", linewidth=1)
        axes.plot(x, y, marker="o", markersize=3, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(x, [str(value) for value in x])
    axes.minorticks_off()
    axes.set(xlabel=AXES[axis], ylabel="ms of a training step")
