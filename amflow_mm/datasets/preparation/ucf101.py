"""UCF101: three splits, each a list of training and one of test videos."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

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

ADVICE = "they are in UCF101TrainTestSplits-RecognitionTask.zip: docs/datasets/ucf101.md"
LISTS = {"train": "trainlist", "val": "testlist"}


def plan_ucf101(videos: StoredPath, annotations: str | os.PathLike[str]) -> Plan:
    """Make the lists of the three splits of UCF101.

    Args:
        videos: Folder of the class folders, or of all videos.
        annotations: Folder ``ucfTrainTestlist``.

    Raises:
        PreparationError: A list is missing or does not fit the classes.
    """
    # HandstandPushups holds v_HandStandPushups_g01_c01.avi, and copies spell either like the other.
    index, annotations = index_videos(videos, ignore_case=True), Path(annotations)
    classes = _read_classes(_find(annotations, "classInd.txt"))
    published = PUBLISHED["ucf101"]
    splits: list[Split] = []
    findings: list[Finding] = []
    for number in (1, 2, 3):
        for part, prefix in LISTS.items():
            path = _find(annotations, f"{prefix}{number:02d}.txt")
            entries, repeated = gather_entries(_read_list(path, classes))
            findings.append(repeated)
            name = f"{part}_split_{number}"
            splits.append(
                Split(
                    name=name,
                    entries=entries,
                    list_file=f"ucf101_{name}_videos.txt",
                    classes_file="classes.txt",
                    index=index,
                    place="videos",
                    protocols=(f"split {number}",),
                    published=published.videos[name],
                )
            )
    return Plan(
        dataset="ucf101",
        splits=tuple(splits),
        classes={"classes.txt": tuple(classes)},
        findings=tuple(findings),
        source=published.source,
    )


def _find(annotations: Path, name: str) -> Path:
    return find_annotation(annotations, (name,), what="lists of UCF101", advice=ADVICE)


def _read_classes(path: Path) -> list[str]:
    """Read ``1 ApplyEyeMakeup`` and so on; the numbers begin at 1, ours at 0."""
    classes = []
    for where, line in read_text_lines(path):
        number, _, name = line.partition(" ")
        if number != str(len(classes) + 1) or not name:
            raise PreparationError(
                f"{where}: {line!r} must be {len(classes) + 1}, a blank and the name of a class"
            )
        classes.append(name.strip())
    return classes


def _read_list(path: Path, classes: list[str]) -> Iterator[tuple[str, Entry]]:
    """Read ``ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1``; test lists have no number."""
    numbers = {name.casefold(): number for number, name in enumerate(classes)}
    for where, line in read_text_lines(path):
        video, *rest = line.split()
        folder = PurePosixPath(video).parent.name
        label = numbers.get(folder.casefold())
        if label is None:
            raise PreparationError(
                f"{where}: the folder of {video} is no class; lists name videos as "
                "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi"
            )
        if rest and rest != [str(label + 1)]:
            raise PreparationError(
                f"{where}: {folder} is class {label + 1} in classInd.txt, not {' '.join(rest)}"
            )
        yield where, Entry(video_stem(video), label, folder=folder)
