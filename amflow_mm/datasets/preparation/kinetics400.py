"""Kinetics-400: the owners' CSV lists against a copy that has lost some of its videos.

A clip is named after its YouTube id and its seconds, `0347ZoDXyP0_000095_000105.mp4`, in one folder
or in class folders whose names hold blanks or underscores. Classes are numbered alphabetically, as
MMAction2 and everybody else does.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from amflow_mm.datasets.preparation.annotation_files import (
    find_annotation,
    find_optional,
    read_table,
)
from amflow_mm.datasets.preparation.plan import (
    Entry,
    Finding,
    Plan,
    PreparationError,
    Split,
    gather_entries,
)
from amflow_mm.datasets.preparation.published_counts import PUBLISHED
from amflow_mm.datasets.preparation.video_index import VideoIndex, index_videos, require_folder
from amflow_mm.datasets.storage import StoredPath

COLUMNS = ("youtube_id", "time_start", "time_end")
ADVICE = "docs/datasets/kinetics400.md tells where the lists are"

FILES = {
    "train": ("train.csv", "kinetics_train.csv", "kinetics400_train.csv", "kinetics-400_train.csv"),
    "val": (
        "val.csv",
        "validate.csv",
        "kinetics_val.csv",
        "kinetics400_val.csv",
        "kinetics-400_val.csv",
    ),
    "test": ("test.csv", "kinetics_test.csv", "kinetics400_test.csv", "kinetics-400_test.csv"),
}


def plan_kinetics400(videos: StoredPath, annotations: str | os.PathLike[str]) -> Plan:
    """Make the lists of Kinetics-400.

    Args:
        videos: Folder with ``videos_train`` and ``videos_val``, or ``train`` and ``val``, or with
            all videos of all splits.
        annotations: Folder of the CSV files.

    Raises:
        PreparationError: A list is missing, has other columns, or contradicts another one.
    """
    videos, annotations = require_folder(videos), Path(annotations)
    rows = {"train": _read_rows(annotations, "train"), "val": _read_rows(annotations, "val")}
    test = find_optional(annotations, FILES["test"])
    findings = []
    if test is not None:
        rows["test"] = list(read_table(test, COLUMNS))
        if any(not row.get("label") for _, row in rows["test"]):
            unlabelled = rows.pop("test")
            names = tuple(_clip_name(where, row) for where, row in unlabelled)
            findings.append(Finding("test videos without a label, not listed", names))
    classes = _sort_classes({row["label"] for _, row in rows["train"]})
    indexes = _index_splits(videos, list(rows))
    splits = []
    for name, split_rows in rows.items():
        entries, repeated = gather_entries(_entries(split_rows, classes))
        findings.append(repeated)
        splits.append(_make_split(name, entries, indexes[name]))
    return Plan(
        dataset="kinetics400",
        splits=tuple(splits),
        classes={"classes.txt": tuple(classes)},
        findings=tuple(findings),
        source=PUBLISHED["kinetics400"].source,
    )


def _read_rows(annotations: Path, split: str) -> list[tuple[str, dict[str, str]]]:
    path = find_annotation(
        annotations, FILES[split], what=f"list of the {split} videos", advice=ADVICE
    )
    rows = list(read_table(path, ("label", *COLUMNS)))
    if not rows:
        raise PreparationError(f"{path} lists no video; {ADVICE}")
    return rows


def _make_split(name: str, entries: tuple[Entry, ...], index: VideoIndex) -> Split:
    return Split(
        name=name,
        entries=entries,
        list_file=f"kinetics400_{name}_list_videos.txt",
        classes_file="classes.txt",
        index=index,
        place=f"videos_{name}",
        published=PUBLISHED["kinetics400"].videos[name],
    )


def _sort_classes(labels: set[str]) -> list[str]:
    """Sort as MMAction2, which writes underscores for blanks first."""
    return sorted(labels, key=lambda label: label.replace(" ", "_"))


def _entries(
    rows: list[tuple[str, dict[str, str]]], classes: list[str]
) -> Iterator[tuple[str, Entry]]:
    numbers = {label: number for number, label in enumerate(classes)}
    for where, row in rows:
        label = row["label"]
        if label not in numbers:
            raise PreparationError(
                f"{where}: class {label!r} is none of the {len(classes)} of the training list; are "
                "both lists of the same version?"
            )
        yield (
            where,
            # Some copies are named after the id alone.
            Entry(_clip_name(where, row), numbers[label], label, (row["youtube_id"],)),
        )


def _clip_name(where: str, row: dict[str, str]) -> str:
    try:
        # Some lists write the seconds as floating point numbers.
        start, end = (int(float(row[key])) for key in ("time_start", "time_end"))
    except ValueError as error:
        raise PreparationError(
            f"{where}: time_start={row['time_start']!r} and time_end={row['time_end']!r} must be "
            "numbers of seconds"
        ) from error
    return f"{row['youtube_id']}_{start:06d}_{end:06d}"


def _index_splits(videos: Path, splits: list[str]) -> dict[str, VideoIndex]:
    """Look through the folder of each split, or through one folder for all of them."""
    folders = {split: _find_folder(videos, split) for split in splits}
    if not any(folders.values()):
        return dict.fromkeys(splits, index_videos(videos))
    # A split whose folder is not there has not been downloaded.
    return {
        split: index_videos(folder) if folder else VideoIndex(videos / f"videos_{split}", [])
        for split, folder in folders.items()
    }


def _find_folder(videos: Path, split: str) -> Path | None:
    candidates = (videos / f"videos_{split}", videos / split, videos / "videos" / split)
    return next((folder for folder in candidates if folder.is_dir()), None)
