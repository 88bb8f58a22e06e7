"""HMDB51: three splits, each a file per class that marks its videos 1 (train), 2 (test) or 0."""

import os
from collections import defaultdict
from pathlib import Path

from amflow_mm.datasets.preparation.annotation_files import find_annotation, read_text_lines
from amflow_mm.datasets.preparation.plan import (
    Entry,
    Finding,
    Plan,
    PreparationError,
    Split,
    gather_entries,
)
from amflow_mm.datasets.preparation.published_counts import PUBLISHED
from amflow_mm.datasets.preparation.video_index import index_videos, video_stem
from amflow_mm.datasets.storage import StoredPath

ADVICE = "they are in test_train_splits.rar: docs/datasets/hmdb51.md"
PARTS = {"0": None, "1": "train", "2": "val"}
SUFFIX = "_test_split{}.txt"


def plan_hmdb51(videos: StoredPath, annotations: str | os.PathLike[str]) -> Plan:
    """Make the lists of the three splits of HMDB51; classes are numbered alphabetically.

    Args:
        videos: Folder of the class folders.
        annotations: Folder ``testTrainMulti_7030_splits``.

    Raises:
        PreparationError: A list is missing or has other flags than 0, 1 and 2.
    """
    index, annotations = index_videos(videos), Path(annotations)
    suffix = SUFFIX.format(1)
    find_annotation(annotations, (f"*{suffix}",), what="lists of HMDB51", advice=ADVICE)
    classes = sorted(path.name.removesuffix(suffix) for path in annotations.glob(f"*{suffix}"))
    published = PUBLISHED["hmdb51"]
    splits: list[Split] = []
    findings: list[Finding] = []
    for number in (1, 2, 3):
        parts = _read_split(annotations, number, classes)
        for part in ("train", "val"):
            entries, repeated = gather_entries(parts[part], by_folder=True)
            findings.append(repeated)
            name = f"{part}_split_{number}"
            splits.append(
                Split(
                    name=name,
                    entries=entries,
                    list_file=f"hmdb51_{name}_videos.txt",
                    classes_file="classes.txt",
                    index=index,
                    place="videos",
                    protocols=(f"split {number}",),
                    published=published.videos[name],
                )
            )
    return Plan(
        dataset="hmdb51",
        splits=tuple(splits),
        classes={"classes.txt": tuple(classes)},
        findings=tuple(findings),
        source=published.source,
    )


def _read_split(
    annotations: Path, number: int, classes: list[str]
) -> dict[str | None, list[tuple[str, Entry]]]:
    """Read the files of all classes of one split."""
    parts: dict[str | None, list[tuple[str, Entry]]] = defaultdict(list)
    for label, name in enumerate(classes):
        path = find_annotation(
            annotations, (name + SUFFIX.format(number),), what="lists of HMDB51", advice=ADVICE
        )
        for where, line in read_text_lines(path):
            video, _, flag = line.rpartition(" ")
            if not video or flag not in PARTS:
                raise PreparationError(
                    f"{where}: {line!r} must be a file name, a blank and 0, 1 or 2"
                )
            entry = Entry(video_stem(video.strip()), label, folder=name)
            parts[PARTS[flag]].append((where, entry))
    return parts
