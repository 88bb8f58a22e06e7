"""Something-Something v2: templates such as `Holding [something] next to [something]`.

A label is its template without the brackets; the published JSON numbers them. The test videos have
their labels in a file of their own, which came with later releases.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from amflow_mm.datasets.preparation.annotation_files import (
    find_annotation,
    find_optional,
    read_field,
    read_json,
    read_text_lines,
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
from amflow_mm.datasets.preparation.video_index import VideoIndex, index_videos
from amflow_mm.datasets.storage import StoredPath

ADVICE = "they come with the videos after registration: docs/datasets/ssv2.md"
EXPECTED = "items of version 2 look like " + json.dumps(
    {"id": "78687", "template": "Holding [something] next to [something]"}
)
FILES = {
    "labels": ("labels.json", "something-something-v2-labels.json"),
    "train": ("train.json", "something-something-v2-train.json"),
    "val": ("validation.json", "something-something-v2-validation.json", "val.json"),
    "test": ("test.json", "something-something-v2-test.json"),
    "answers": ("test-answers.csv", "something-something-v2-test-answers.csv"),
}


def plan_ssv2(videos: StoredPath, annotations: str | os.PathLike[str]) -> Plan:
    """Make the lists of Something-Something v2.

    Args:
        videos: Folder of the videos, named after their ids.
        annotations: Folder of the JSON files, under their old or new names.

    Raises:
        PreparationError: A file is missing or of another version.
    """
    index, annotations = index_videos(videos), Path(annotations)
    numbers = _read_labels(_find(annotations, "labels"))
    found: dict[str, list[tuple[str, Entry]]] = {}
    templates: dict[int, str] = {}
    for split in ("train", "val"):
        found[split] = list(_read_items(_find(annotations, split), numbers, templates))
    findings = []
    answers = find_optional(annotations, FILES["answers"])
    test = find_optional(annotations, FILES["test"])
    if answers is not None:
        found["test"] = list(_read_answers(answers, numbers))
    elif test is not None:
        ids = [str(read_field(item, "id", str(test), expected=EXPECTED)) for item in _items(test)]
        findings.append(Finding("test videos without a label, not listed", tuple(ids)))
    splits = []
    for name, numbered in found.items():
        entries, repeated = gather_entries(numbered)
        findings.append(repeated)
        splits.append(_make_split(name, entries, index))
    classes = tuple(sorted(numbers, key=numbers.__getitem__))
    lines = (templates.get(number, name) for number, name in enumerate(classes))
    return Plan(
        dataset="ssv2",
        splits=tuple(splits),
        classes={"classes.txt": classes},
        findings=tuple(findings),
        other_files={"templates.txt": "".join(f"{line}\n" for line in lines)},
        source=PUBLISHED["ssv2"].source,
    )


def remove_brackets(template: str) -> str:
    """Return the label of a template: ``[something]`` becomes ``something``."""
    return re.sub(r"[\[\]]", "", template)


def _find(annotations: Path, what: str) -> Path:
    return find_annotation(annotations, FILES[what], what=f"{what} of SSv2", advice=ADVICE)


def _make_split(name: str, entries: tuple[Entry, ...], index: VideoIndex) -> Split:
    return Split(
        name=name,
        entries=entries,
        list_file=f"sthv2_{name}_list_videos.txt",
        classes_file="classes.txt",
        index=index,
        place="videos",
        published=PUBLISHED["ssv2"].videos[name],
    )


def _read_labels(path: Path) -> dict[str, int]:
    content = read_json(path, dict)
    try:
        numbers = {name: int(number) for name, number in content.items()}
    except (TypeError, ValueError) as error:
        raise PreparationError(f"{path} must map each label to its number: {error}") from error
    if sorted(numbers.values()) != list(range(len(numbers))):
        raise PreparationError(
            f"{path}: the numbers of its {len(numbers)} labels must be 0 to {len(numbers) - 1}, "
            "each once"
        )
    return numbers


def _items(path: Path) -> list:
    return read_json(path, list)


def _read_items(
    path: Path, numbers: dict[str, int], templates: dict[int, str]
) -> Iterator[tuple[str, Entry]]:
    """Yield the entries of a list, and note the template of each label."""
    for position, item in enumerate(_items(path), start=1):
        where = f"{path}, item {position}"
        video = str(read_field(item, "id", where, expected=EXPECTED))
        template = str(read_field(item, "template", where, expected=EXPECTED))
        number = _look_up(remove_brackets(template), numbers, where)
        templates.setdefault(number, template)
        yield where, Entry(video, number)


def _read_answers(path: Path, numbers: dict[str, int]) -> Iterator[tuple[str, Entry]]:
    for where, line in read_text_lines(path):
        video, separator, label = line.partition(";")
        if not separator:
            raise PreparationError(f"{where}: {line!r} must be an id, a semicolon and a label")
        yield where, Entry(video, _look_up(remove_brackets(label), numbers, where))


def _look_up(label: str, numbers: dict[str, int], where: str) -> int:
    if label not in numbers:
        raise PreparationError(
            f"{where}: label {label!r} is none of the {len(numbers)}; are the files of the same "
            "version?"
        )
    return numbers[label]
