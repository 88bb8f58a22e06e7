"""The page on the speed of data, whose tables are written from the record of a run."""

from pathlib import Path
from typing import Any

from amflow_mm.apis.pipeline_benchmark.report import run_as_markdown
from amflow_mm.apis.reporting import page_with_results, relative_link


def updated_page(page: Path, run: dict[str, Any], record: Path) -> str:
    """Return the text of a page with the tables of a run between its markers.

    Args:
        page: Markdown.
        run: The record.
        record: File of the record, which the page points to.
    """
    source = f"Full record: [{record.name}]({relative_link(record, page)})."
    return page_with_results(page, f"{run_as_markdown(run)} {source}")
