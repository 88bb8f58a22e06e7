"""Videos of one's own: a folder of class folders, or a table of paths and labels.

Where neither folders nor table name splits, these are drawn: stratified by class, or by group (a
person, a place, a source video) so that no group is in two splits.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from amflow_mm.datasets.preparation.annotation_files import read_table, read_text_lines
from amflow_mm.datasets.preparation.plan import Entry, Finding, Plan, PreparationError, Split
from amflow_mm.datasets.preparation.splits import grouped_split, stratified_split
from amflow_mm.datasets.preparation.video_index import VideoIndex, index_videos
from amflow_mm.datasets.storage import StoredPath

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class SplitRule:
    """How videos are divided.

    Attributes:
        shares: Of each split, ``train`` first.
        seed: Of the draw.
        group_pattern: Regular expression that is searched in the path; its first bracket, or all
            of it, names the group.
        is_asked_for: Whether somebody chose shares or seed, which splits that are there contradict.
    """

    shares: Mapping[str, float]
    seed: int = 0
    group_pattern: str | None = None
    is_asked_for: bool = False


@dataclass(frozen=True)
class _Row:
    where: str
    path: str
    label: str
    group: str | None = None
    split: str | None = None


def make_shares(val: float, test: float) -> dict[str, float]:
    """Return the shares of the splits; one of share 0 is not made.

    Raises:
        PreparationError: Nothing is left for training, or a share is no fraction.
    """
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise PreparationError(
            f"--val {val:g} and --test {test:g} must be fractions that leave something to train on"
        )
    shares = {"train": 1 - val - test, "val": val, "test": test}
    return {name: share for name, share in shares.items() if share > 0}


def plan_custom(
    videos: StoredPath,
    rule: SplitRule,
    *,
    table: str | os.PathLike[str] | None = None,
    classes_file: str | os.PathLike[str] | None = None,
) -> Plan:
    """Make the lists of videos of one's own.

    Args:
        videos: Folder that paths are relative to.
        rule: How they are divided, where the table does not say.
        table: CSV with the columns ``path,label`` and, if wanted, ``group`` and ``split``; without
            it the class folders tell the labels.
        classes_file: Names of the classes in their order; by default they are sorted.

    Raises:
        PreparationError: Nothing can be made of the table, the folders or the rule.
    """
    index = index_videos(videos)
    findings: list[Finding] = []
    if table is None:
        rows = _rows_of_folders(index, findings)
    else:
        rows = _rows_of_table(Path(table), index.folder)
    if not rows:
        raise PreparationError(
            f"no video to list: {table or index.folder} names none; class folders with videos, or "
            "a table with the columns path,label are needed"
        )
    classes = _read_classes(classes_file) if classes_file else _sort_labels(rows)
    numbers = {name: number for number, name in enumerate(classes)}
    for row in rows:
        if row.label not in numbers:
            raise PreparationError(f"{row.where}: label {row.label!r} is not in {classes_file}")
    labels = [numbers[row.label] for row in rows]
    assigned = _assign(rows, labels, rule, findings)
    names = [name for name in ("train", "val", "test") if name in assigned]
    splits = tuple(
        Split(
            name=name,
            entries=tuple(
                Entry(row.path, label)
                for row, label, split in zip(rows, labels, assigned, strict=True)
                if split == name
            ),
            list_file=f"{name}.txt",
            classes_file="classes.txt",
            index=index,
            place="videos",
        )
        for name in names
    )
    return Plan("custom", splits, {"classes.txt": tuple(classes)}, tuple(findings))


def _rows_of_folders(index: VideoIndex, findings: list[Finding]) -> list[_Row]:
    """Read ``walk/a.mp4``, or ``train/walk/a.mp4`` where all folders on top name splits."""
    parts = {path: PurePosixPath(path).parts for path in index.paths}
    top = {names[0] for names in parts.values() if len(names) > 1}
    has_splits = len(top) > 1 and all(name.lower() in SPLIT_NAMES for name in top)
    rows, outside = [], []
    for path, names in parts.items():
        if len(names) < 2 + has_splits:
            outside.append(path)
            continue
        split = SPLIT_NAMES[names[0].lower()] if has_splits else None
        rows.append(_Row(f"{index.folder}/{path}", path, names[has_splits], split=split))
    findings.append(Finding("videos outside of class folders", tuple(outside)))
    classes = {row.label for row in rows}
    if len(classes) == 1:
        what = f"only one class folder in {index.folder}; are they one level below?"
        findings.append(Finding(what, tuple(classes)))
    return rows


def _rows_of_table(table: Path, folder: Path) -> list[_Row]:
    if not table.is_file():
        raise PreparationError(f"the table {table} does not exist")
    rows: dict[str, _Row] = {}
    for where, fields in read_table(table, ("path", "label")):
        path = _relative(fields["path"], folder, where)
        if not fields["label"]:
            raise PreparationError(f"{where}: the label is empty")
        if path in rows:
            raise PreparationError(f"{where}: {path} stands in {rows[path].where} already")
        rows[path] = _Row(
            where,
            path,
            fields["label"],
            group=_optional(fields, "group", where),
            split=_read_split(_optional(fields, "split", where), where),
        )
    return list(rows.values())


def _relative(path: str, folder: Path, where: str) -> str:
    """Return a listed path as relative to the folder, with forward slashes."""
    inside = os.path.relpath(os.path.join(folder, path), folder)
    if not path or inside == os.pardir or inside.startswith(os.pardir + os.sep):
        raise PreparationError(
            f"{where}: path {path!r} must be a file in {folder}; give the folder that holds all "
            "videos with --videos"
        )
    return Path(inside).as_posix()


def _optional(fields: Mapping[str, str], key: str, where: str) -> str | None:
    """Return a field of a column that need not be there, but has to be filled if it is."""
    if key in fields and not fields[key]:
        raise PreparationError(f"{where}: {key} is empty; fill it in, or leave the column out")
    return fields.get(key)


def _read_split(text: str | None, where: str) -> str | None:
    if text is None:
        return None
    if text.lower() not in SPLIT_NAMES:
        raise PreparationError(f"{where}: split {text!r} must be train, val or test")
    return SPLIT_NAMES[text.lower()]


def _sort_labels(rows: Sequence[_Row]) -> list[str]:
    """Sort alphabetically, numbers by value; numbers that are labels already stay what they are."""
    labels = {row.label for row in rows}
    if all(label.isdecimal() for label in labels):
        return _check_numbers(sorted(labels, key=int))
    return sorted(labels)


def _check_numbers(labels: list[str]) -> list[str]:
    if [int(label) for label in labels] != list(range(len(labels))):
        raise PreparationError(
            f"the labels are the numbers {', '.join(labels)}, which are not 0 to {len(labels) - 1} "
            "without a gap; correct them, use names, or give all names in order with --classes"
        )
    return labels


def _read_classes(path: str | os.PathLike[str]) -> list[str]:
    if not Path(path).is_file():
        raise PreparationError(f"the file of classes {path} does not exist")
    classes = [line for _, line in read_text_lines(Path(path))]
    repeated = {name for name in classes if classes.count(name) > 1}
    if repeated:
        raise PreparationError(f"{path}: {', '.join(sorted(repeated))} stands there twice")
    return classes


def _assign(
    rows: Sequence[_Row], labels: Sequence[int], rule: SplitRule, findings: list[Finding]
) -> list[str]:
    """Return the split of each row."""
    groups = _find_groups(rows, rule)
    paths = [row.path for row in rows]
    if rows[0].split is not None:
        if rule.is_asked_for:
            raise PreparationError(
                "the videos are in splits already, by the column split of the table or by folders "
                "named train and val, so that --val, --test and --seed have no meaning; leave them "
                "out"
            )
        assigned = [str(row.split) for row in rows]
        if groups is not None:
            findings.append(_find_shared_groups(groups, assigned))
        return assigned
    if groups is None:
        return stratified_split(paths, labels, rule.shares, rule.seed)
    try:
        return grouped_split(paths, labels, groups, rule.shares, seed=rule.seed)
    except ValueError as error:
        raise PreparationError(str(error)) from error


def _find_groups(rows: Sequence[_Row], rule: SplitRule) -> list[str] | None:
    if rule.group_pattern is None:
        return None if rows[0].group is None else [str(row.group) for row in rows]
    if rows[0].group is not None:
        raise PreparationError(
            "groups are given twice: by the column group and by --group-regex; leave out one"
        )
    try:
        pattern = re.compile(rule.group_pattern)
    except re.error as error:
        raise PreparationError(f"--group-regex {rule.group_pattern!r}: {error}") from error
    groups = []
    for row in rows:
        match = pattern.search(row.path)
        if match is None:
            raise PreparationError(
                f"--group-regex {rule.group_pattern!r} finds nothing in {row.path}; it has to find "
                "the group of every video"
            )
        groups.append(match.group(1 if pattern.groups else 0))
    return groups


def _find_shared_groups(groups: Sequence[str], assigned: Sequence[str]) -> Finding:
    """Tell which groups are in several splits already."""
    splits: dict[str, set[str]] = {}
    for group, split in zip(groups, assigned, strict=True):
        splits.setdefault(group, set()).add(split)
    shared = sorted(group for group, names in splits.items() if len(names) > 1)
    return Finding("groups that are in several splits", tuple(shared))
