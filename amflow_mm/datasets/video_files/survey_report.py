"""A survey as a table, a CSV file and a JSON file."""

import csv
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.datasets.video_files.examine import KINDS, FileReport
from amflow_mm.datasets.video_files.survey import Survey

MAX_SHOWN = 50
"""Files that the table names one by one; the CSV file has all."""


def write_reports(survey: Survey, folder: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Write ``report.csv``, a line for each file, and ``report.json``, with counts."""
    table, data = Path(folder) / "report.csv", Path(folder) / "report.json"
    rows = [_to_row(survey, report) for report in survey.reports.values()]
    with atomic_path(table) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        columns = ["usable", *(field.name for field in dataclasses.fields(FileReport))]
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows({**row, "kinds": " ".join(row["kinds"])} for row in rows)
    content = {
        "num_files": len(rows),
        "num_unusable": len(survey.unusable()),
        "unusable_kinds": list(survey.unusable_kinds),
        "kinds": dict(survey.count_kinds()),
        "files": rows,
    }
    with atomic_path(data) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return table, data


def format_survey(survey: Survey) -> str:
    """Write the files that are reported, unusable ones first, and the counts by kind."""
    return "\n".join([*_file_lines(survey), *_kind_lines(survey)])


def _to_row(survey: Survey, report: FileReport) -> dict[str, object]:
    return {"usable": survey.is_usable(report), **dataclasses.asdict(report)}


def _file_lines(survey: Survey) -> Iterator[str]:
    reported = [report for report in survey.reports.values() if report.kinds]
    reported.sort(key=survey.is_usable)
    for report in reported[:MAX_SHOWN]:
        mark = " " if survey.is_usable(report) else "x"
        yield f"{mark} {report.path}: {', '.join(report.kinds)} ({report.detail})"
    if len(reported) > MAX_SHOWN:
        yield f"  ... and {len(reported) - MAX_SHOWN} more, all in report.csv"


def _kind_lines(survey: Survey) -> Iterator[str]:
    counts = survey.count_kinds()
    if counts:
        yield f"\n{'kind':<16}{'files':>8}  unusable"
    for kind in KINDS:
        if counts[kind]:
            verdict = "yes" if kind in survey.unusable_kinds else "no"
            yield f"{kind:<16}{counts[kind]:>8}  {verdict}"
    num_files, num_unusable = len(survey.reports), len(survey.unusable())
    yield f"\n{num_files} videos examined, {num_unusable} unusable"
