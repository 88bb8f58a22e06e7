"""Diving48, version 2: dives that only their movements tell apart.

The labels of the first version were revised by the owners; lists of both versions look the same but
for their names, so version 2 is asked for by name.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from amflow_mm.datasets.preparation.annotation_files import (
    find_annotation,
    find_optional,
    read_field,
    read_json,
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
from amflow_mm.datasets.preparation.video_index import index_videos
from amflow_mm.datasets.storage import StoredPath

ADVICE = "docs/datasets/diving48.md tells where it is"
EXPECTED = 'items look like {"vid_name": "2x00lRzlTVQ_00000", "label": 0}'
FILES = {"train": "Diving48_V2_train.json", "val": "Diving48_V2_test.json"}
VERSION_1 = ("Diving48_train.json", "Diving48_test.json")


def plan_diving48(videos: StoredPath, annotations: str | os.PathLike[str]) -> Plan:
    """Make the lists of Diving48.

    Args:
        videos: Folder of the videos, ``rgb`` in the owners' archive.
        annotations: Folder of the JSON files of version 2 and of ``Diving48_vocab.json``.

    Raises:
        PreparationError: A file is missing or of another version.
    """
    index, annotations = index_videos(videos), Path(annotations)
    classes = _read_vocabulary(_find(annotations, "Diving48_vocab.json"))
    published = PUBLISHED["diving48"]
    splits: list[Split] = []
    findings: list[Finding] = []
    for name, file in FILES.items():
        entries, repeated = gather_entries(_read_list(_find(annotations, file), len(classes)))
        findings.append(repeated)
        splits.append(
            Split(
                name=name,
                entries=entries,
                list_file=f"diving48_{name}_list_videos.txt",
                classes_file="classes.txt",
                index=index,
                place="videos",
                published=published.videos[name],
            )
        )
    return Plan(
        dataset="diving48",
        splits=tuple(splits),
        classes={"classes.txt": classes},
        findings=tuple(findings),
        source=published.source,
    )


def _find(annotations: Path, name: str) -> Path:
    old = find_optional(annotations, VERSION_1)
    advice = f"{old} is of version 1, whose labels were revised; {ADVICE}" if old else ADVICE
    return find_annotation(annotations, (name,), what="file of Diving48", advice=advice)


def _read_vocabulary(path: Path) -> tuple[str, ...]:
    """Read classes such as ``["Back", "15som", "05Twis", "FREE"]``, one name each."""
    names = []
    for item in read_json(path, list):
        if not isinstance(item, list) or not all(isinstance(part, str) for part in item):
            raise PreparationError(f"{path}: {item!r} must be a list of the four parts of a dive")
        names.append(" ".join(item))
    return tuple(names)


def _read_list(path: Path, num_classes: int) -> Iterator[tuple[str, Entry]]:
    for position, item in enumerate(read_json(path, list), start=1):
        where = f"{path}, item {position}"
        video = str(read_field(item, "vid_name", where, expected=EXPECTED))
        label = read_field(item, "label", where, expected=EXPECTED)
        if not isinstance(label, int) or not 0 <= label < num_classes:
            raise PreparationError(
                f"{where}: label {label!r} must be a number from 0 to {num_classes - 1}, the "
                "classes of Diving48_vocab.json"
            )
        yield where, Entry(video, label)
