"""The page on the speed of data, whose tables are written from the record of a run."""

import os
import re
from pathlib import Path
from typing import Any

from amflow_mm.apis.pipeline_benchmark.report import run_as_markdown
from amflow_mm.errors import UserError

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def updated_page(page: Path, run: dict[str, Any], record: Path) -> str:
    """Return the text of a page with the tables of a run between its markers.

    Args:
        page: Markdown.
        run: The record.
        record: File of the record, which the page points to.
    """
    text = page.read_text(encoding="utf-8")
    match = re.fullmatch(f"(.*{BEGIN}\n)(.*)({END}.*)", text, re.DOTALL)
    if match is None or text.count(BEGIN) + text.count(END) != 2:
        raise UserError(f"{page} must hold a line {BEGIN} and a line {END}, once each")
    link = Path(os.path.relpath(record, page.parent)).as_posix()
    source = f"Full record: [{record.name}]({link})."
    return f"{match[1]}\n{run_as_markdown(run)} {source}\n\n{match[3]}"
