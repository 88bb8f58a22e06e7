"""The record of a run as a picture."""

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from amflow_mm.apis.pipeline_benchmark.report import Speeds, subjects_of, summarize_run

BASELINE_COLOUR, OTHER_COLOUR = "#9a9a9a", "#2b6cb0"


def draw_chart(run: dict[str, Any], path: str | Path) -> None:
    """Draw clips a second of each subject, a panel for each set of videos.

    Lines span the repetitions, numbers are multiples of the baseline. The axis is logarithmic: a
    bar that is longer by the same piece is faster by the same factor.

    Args:
        run: Record of a run.
        path: Of the picture; its suffix gives the format.
    """
    speeds = summarize_run(run)
    mode = "loader" if any(how == "loader" for *_, how in speeds) else "process"
    sets = list(run["videos"])
    rows = max(len(subjects_of(speeds, videos, mode)) for videos in sets)
    size = (4.0 * len(sets) + 3.0, 0.42 * rows + 1.3)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    panels = figure.subplots(1, len(sets), squeeze=False, sharex=True, sharey=True)[0]
    for axes, videos in zip(panels, sets, strict=True):
        _draw_bars(axes, speeds, videos, mode, run["baseline"])
    workers = run["options"]["num_workers"]
    where = f"DataLoader, {workers} workers" if mode == "loader" else "one process"
    figure.supxlabel(f"clips a second, {where}", fontsize=10)
    figure.savefig(path)


def _draw_bars(axes: Axes, speeds: Speeds, videos: str, mode: str, baseline: str) -> None:
    names = subjects_of(speeds, videos, mode)
    for place, name in enumerate(names):
        speed = speeds[videos, name, mode]
        rate = speed.rate
        colour = BASELINE_COLOUR if name.startswith("MMAction2") else OTHER_COLOUR
        axes.barh(place, rate.median, color=colour)
        axes.plot([rate.low, rate.high], [place, place], color="black", linewidth=1)
        if speed.ratio is not None and name != baseline:
            text = f" x {speed.ratio.median:.1f}"
            axes.text(rate.high, place, text, va="center", fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)  # from top to bottom; panels share it
    axes.set_xscale("log")
    axes.margins(x=0.2)
    axes.set_title(videos, fontsize=10)
