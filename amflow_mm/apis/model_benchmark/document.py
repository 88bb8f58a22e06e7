"""The page on performance, whose tables are written from the records beside it."""

import json
from pathlib import Path
from typing import Any

from amflow_mm.apis.model_benchmark.report import run_as_markdown
from amflow_mm.apis.profiling.report import profile_as_markdown
from amflow_mm.apis.reporting import page_with_results, relative_link
from amflow_mm.errors import UserError

WRITERS = {"benchmark": run_as_markdown, "profile": profile_as_markdown}
"""How a record is written, by its kind."""


def records_folder(page: Path) -> Path:
    """Return where the records of a page are."""
    return page.parent / "results" / page.stem


def record_path(page: Path, name: str) -> Path:
    """Return the file of a record of a page."""
    return records_folder(page) / f"{name}.json"


def chart_path(page: Path, name: str) -> Path:
    """Return the picture of a record of a page."""
    return page.parent / "images" / f"{page.stem}_{name}.png"


def updated_page(page: Path) -> str:
    """Return the text of a page with the tables of all its records between its markers.

    Args:
        page: Markdown; the records stand in the folder ``results/PAGE`` beside it.
    """
    paths = sorted(records_folder(page).glob("*.json"))
    sections = [_section(page, path) for path in paths]
    return page_with_results(page, "\n\n".join(sections) or "Nothing is recorded yet.")


def _section(page: Path, path: Path) -> str:
    record = _read(path)
    parts = [f"### {path.stem.replace('_', ' ')}", WRITERS[record["kind"]](record)]
    chart = chart_path(page, path.stem)
    if chart.is_file():
        parts.insert(1, f"![cost of each model]({relative_link(chart, page)})")
    source = f"Taken at {record['time']}, commit {record['git_commit']}."
    return "\n\n".join(
        [*parts, f"{source} Full record: [{path.name}]({relative_link(path, page)})."]
    )


def _read(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_text(encoding="utf-8"))
    if record.get("kind") not in WRITERS:
        raise UserError(
            f"{path}: kind={record.get('kind')!r} must be one of {', '.join(WRITERS)}; this folder "
            "holds the records of benchmark.py and profile.py alone"
        )
    return record
