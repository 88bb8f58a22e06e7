"""Reading the files that owners of data sets distribute, with errors that name file and line."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from amflow_mm.datasets.preparation.plan import PreparationError

MAX_NAMES = 8
"""Files that an error names of those that a folder holds."""


def find_annotation(folder: Path, names: Sequence[str], *, what: str, advice: str) -> Path:
    """Return the first of some files that exists.

    Args:
        folder: Where to look.
        names: Names that the file has had over the years, or patterns such as ``*.txt``.
        what: What it is, for the error.
        advice: Where to get it.

    Raises:
        PreparationError: None exists.
    """
    path = find_optional(folder, names)
    if path is None:
        there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        more = ", …" if len(there) > MAX_NAMES else ""
        holds = f"holds {', '.join(there[:MAX_NAMES])}{more}" if there else "holds nothing"
        holds = holds if folder.is_dir() else "does not exist"
        raise PreparationError(
            f"{what}: no {' or '.join(names)} in {folder}, which {holds}; {advice}"
        )
    return path


def find_optional(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first of some files that exists, else None."""
    for name in names:
        for path in sorted(folder.glob(name)):
            return path
    return None


def read_text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines that are not empty, each with its place in words."""
    for number, line in enumerate(_read(path).splitlines(), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def read_table(path: Path, required: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a CSV with a header, each with its place in words.

    Raises:
        PreparationError: A required column is not in the header, or a row ends before it.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, skipinitialspace=True)
        try:
            header = [name.strip() for name in rows.fieldnames or ()]
            lacking = [name for name in required if name not in header]
            if lacking:
                raise PreparationError(
                    f"{path}: the header is {','.join(header) or 'empty'}, but the columns "
                    f"{', '.join(lacking)} are needed"
                )
            rows.fieldnames = header
            for row in rows:
                where = f"{path}, line {rows.line_num}"
                if any(row[name] is None for name in required):
                    raise PreparationError(f"{where}: fewer than {len(header)} fields")
                yield where, {key: (row[key] or "").strip() for key in header}
        except (UnicodeDecodeError, csv.Error) as error:
            raise PreparationError(f"{path} is no CSV text in UTF-8: {error}") from error


def read_json(path: Path, kind: type) -> Any:
    """Return what a JSON file holds.

    Args:
        path: The file.
        kind: ``list`` or ``dict``: what it has to hold.

    Raises:
        PreparationError: It is no JSON or holds something else.
    """
    try:
        content = json.loads(_read(path))
    except json.JSONDecodeError as error:
        raise PreparationError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, kind):
        raise PreparationError(
            f"{path} holds a {type(content).__name__} where a {kind.__name__} is expected; is it "
            "of another version of the data set?"
        )
    return content


def read_field(item: Any, key: str, where: str, *, expected: str) -> Any:
    """Return a field of an item of a JSON list, or say that the version is another one."""
    if not isinstance(item, dict) or key not in item:
        found = ", ".join(item) if isinstance(item, dict) else type(item).__name__
        raise PreparationError(
            f"{where} has no {key!r} but {found}; {expected}. Is it of another version?"
        )
    return item[key]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PreparationError(f"{path} is no text in UTF-8: {error}") from error
