"""Folders as the owners of data sets distribute them, in small."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from amflow_mm.datasets.preparation.report import Report

UCF_CLASSES = ("ApplyEyeMakeup", "Archery", "HandstandPushups")


def touch(folder: Path, *names: str) -> Path:
    """Make empty files, which do where nobody looks into them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_csv(path: Path, header: str, rows: Iterable[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        file.write(f"{header}\n")
        csv.writer(file).writerows(rows)
    return path


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_lines(path: Path, *lines: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read_list(path: Path) -> list[tuple[str, int]]:
    """Read a list as the data set does: the label is the last field."""
    pairs = (line.rsplit(" ", 1) for line in path.read_text(encoding="utf-8").splitlines())
    return [(name, int(label)) for name, label in pairs]


def findings(report: Report) -> dict[str, tuple[str, ...]]:
    return {finding.what: finding.names for finding in report.findings}


def write_ucf101(annotations: Path, split: int, train: Sequence[str], test: Sequence[str]) -> None:
    numbers = {name: number for number, name in enumerate(UCF_CLASSES, start=1)}
    write_lines(
        annotations / "classInd.txt", *(f"{number} {name}" for name, number in numbers.items())
    )
    lines = [f"{name} {numbers[name.partition('/')[0]]}" for name in train]
    write_lines(annotations / f"trainlist{split:02d}.txt", *lines)
    write_lines(annotations / f"testlist{split:02d}.txt", *test)
