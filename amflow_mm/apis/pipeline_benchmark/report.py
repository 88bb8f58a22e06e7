"""The record of a run as tables: plain text for the terminal, Markdown for the documents."""

from collections.abc import Sequence
from typing import Any

from amflow_mm.apis.pipeline_benchmark.summary import Speed, summarize
from amflow_mm.apis.reporting import Rows, format_markdown, format_spread, format_text

MODE_TITLES = {
    "process": "one process",
    "cold": "one process, files not in memory",
    "loader": "DataLoader",
}
STAGE_TITLES = {
    "Init": "open",
    "UniformSample": "sample",
    "SampleFrames": "sample",
    "Decode": "decode",
    "CachedClip": "clip cache",
}
Speeds = dict[tuple[str, str, str], Speed]


def summarize_run(run: dict[str, Any]) -> Speeds:
    """Return the speeds of a recorded run."""
    return summarize(run["measurements"], run["baseline"])


def subjects_of(speeds: Speeds, videos: str, mode: str) -> list[str]:
    """Return the subjects that were measured on a set of videos in a mode, in their order."""
    return [subject for where, subject, how in speeds if (where, how) == (videos, mode)]


def speed_rows(run: dict[str, Any], videos: str) -> Rows:
    """Return a heading and one row a subject: clips a second, per core, times the baseline."""
    speeds = summarize_run(run)
    modes = [mode for mode in MODE_TITLES if subjects_of(speeds, videos, mode)]
    heading = ["pipeline"]
    for mode in modes:
        heading += [f"{MODE_TITLES[mode]}: clips/s", "clips per core and second", "x MMAction2"]
    rows = [heading]
    for subject in dict.fromkeys(s for mode in modes for s in subjects_of(speeds, videos, mode)):
        row = [subject]
        for mode in modes:
            speed = speeds.get((videos, subject, mode))
            row += _speed_cells(speed) if speed else ["", "", ""]
        rows.append(row)
    return rows


def _speed_cells(speed: Speed) -> list[str]:
    per_core = "" if speed.per_core is None else f"{speed.per_core.median:.1f}"
    ratio = "" if speed.ratio is None else format_spread(speed.ratio, 2)
    return [format_spread(speed.rate, 1), per_core, ratio]


def stage_rows(run: dict[str, Any], videos: str) -> Rows:
    """Return a heading and one row a subject: milliseconds a clip of each stage."""
    speeds = summarize_run(run)
    tables: dict[str, dict[str, float]] = {}
    for mode in ("process", "transport"):
        for subject in subjects_of(speeds, videos, mode):
            stages = speeds[videos, subject, mode].stages
            named = {stage_title(step): value for step, value in stages.items()}
            tables.setdefault(subject, {}).update(named)
    stages = merge_orders([list(table) for table in tables.values()])
    rows = [["ms a clip", *stages]]
    for subject, table in tables.items():
        rows.append(
            [subject, *(f"{table[stage]:.2f}" if stage in table else "" for stage in stages)]
        )
    return rows


def stage_title(step: str) -> str:
    """Return the column of a step: those that do the same for different backends share one."""
    for ending, title in STAGE_TITLES.items():
        if step.endswith(ending):
            return title
    return step


def merge_orders(orders: Sequence[Sequence[str]]) -> list[str]:
    """Merge lists of names into one that keeps neighbours together: a new name follows its left.

    Args:
        orders: Names of the stages of each subject, as they follow one another.
    """
    merged: list[str] = []
    for order in orders:
        place = 0
        for name in order:
            if name not in merged:
                merged.insert(place, name)
            place = merged.index(name) + 1
    return merged


def describe_videos(run: dict[str, Any], videos: str) -> str:
    """Return in one line what the videos of a set are like."""
    facts = run["videos"][videos]
    return (
        f"{facts['videos']} videos such as {facts['width']} x {facts['height']}, "
        f"{facts['frames']} frames, {facts['fps']:g} fps, {facts['codec']}, a key frame every "
        f"{facts['gop_size']} frames, {facts['kbit_per_second']} kbit/s"
    )


def describe_agreement(run: dict[str, Any], videos: str) -> str:
    """Return in one line how far the frames of the subjects are from the baseline's."""
    values = {
        name: value for name, value in run["agreement"][videos].items() if name != run["baseline"]
    }
    listed = ", ".join(f"{name} {value:.2f}" for name, value in values.items())
    return f"Mean difference to the frames of {run['baseline']}, in grey levels: {listed}"


def describe_conditions(run: dict[str, Any]) -> str:
    """Return machine, versions and options of a run in one line."""
    machine, options = run["machine"], run["options"]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return (
        f"{machine['processor']}, {machine['cpus']} cores, load {machine['load']:g} before; "
        f"{options['num_workers']} workers, batches of {options['batch_size']}, "
        f"{options['repetitions']} interleaved repetitions of at least {options['seconds']:g} s, "
        f"median (lowest-highest); {versions}"
    )


def print_run(run: dict[str, Any]) -> str:
    """Return all tables of a run as text."""
    parts = []
    for videos in run["videos"]:
        parts += [f"{videos}: {describe_videos(run, videos)}", ""]
        for rows in (speed_rows(run, videos), stage_rows(run, videos)):
            parts += [format_text(rows), ""]
        parts += [describe_agreement(run, videos), ""]
    return "\n".join([*parts, describe_conditions(run)])


def run_as_markdown(run: dict[str, Any]) -> str:
    """Return all tables of a run in Markdown."""
    parts = []
    for videos in run["videos"]:
        parts += [f"### {videos}", "", f"{describe_videos(run, videos)}.", ""]
        for rows in (speed_rows(run, videos), stage_rows(run, videos)):
            if len(rows) > 1:
                parts += [format_markdown(rows), ""]
        parts += [f"{describe_agreement(run, videos)}.", ""]
    return "\n".join([*parts, f"{describe_conditions(run)}."])
