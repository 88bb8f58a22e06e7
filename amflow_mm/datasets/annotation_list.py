"""Annotation lists: a line for each clip with its path and labels; what is wrong is named by line.

MMAction2 reads the same lists without a look at them: a path with blanks ends in a message about
unpacking, a label outside the classes in an assertion on the GPU, an empty list in one about
arrays.
"""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from amflow_mm.datasets import storage
from amflow_mm.errors import UserError

MAX_SHOWN = 10
"""Problems of a list that a message tells one by one."""


class AnnotationError(UserError, ValueError):
    """A line of an annotation list cannot be used."""


class LineLayout(NamedTuple):
    """How a line is laid out: path, fields that do not matter here, labels.

    Args:
        num_between: Fields between path and labels.
        delimiter: What separates fields; None for any blanks.
        has_many_labels: Whether a clip may have several labels.
        is_label_last: Whether the label is what stands after the last delimiter, and the path all
            before it; a path may then hold delimiters. Else fields are counted from the front.
    """

    num_between: int = 0
    delimiter: str | None = " "
    has_many_labels: bool = False
    is_label_last: bool = False


class Classes(NamedTuple):
    """The bound of the labels.

    Args:
        count: Labels are below it; None where it is unknown.
        named_by: What has set it, for messages.
    """

    count: int | None = None
    named_by: str = "num_classes"


UNBOUND = Classes()


class ListedClip(NamedTuple):
    """A line that can be used."""

    line: int
    path: str
    labels: tuple[int, ...]


class Problem(NamedTuple):
    """A line that cannot."""

    line: int
    finding: str


def locate(root: str | None, path: str) -> str:
    """Join a list or folder to ``data_root`` as MMEngine does, which knows fewer kinds of URLs."""
    return os.path.join(root, path) if root and not storage.is_remote(path) else path


def read_list(
    ann_file: str, layout: LineLayout, *, prefix: str = "", classes: Classes = UNBOUND
) -> list[ListedClip]:
    """Read a list of which every line must be usable.

    Args:
        ann_file: Path or URL.
        layout: How its lines are laid out.
        prefix: Folder or URL that relative paths begin at.
        classes: The bound of the labels.

    Raises:
        StorageError: The list cannot be read.
        AnnotationError: It is empty, or lines cannot be used; the first ones are named.
    """
    clips, problems = parse_list(read_lines(ann_file), layout, prefix=prefix, classes=classes)
    if problems:
        raise AnnotationError(describe_problems(ann_file, problems))
    return clips


def read_lines(ann_file: str) -> list[str]:
    """Return the lines of a list.

    Raises:
        StorageError: It cannot be read.
        AnnotationError: It is empty or no text.
    """
    try:
        text = storage.read_text(ann_file)
    except ValueError as error:
        raise AnnotationError(f"annotation list {error}") from error
    if not text.strip():
        raise AnnotationError(f"{ann_file} is empty; it needs a line for each clip")
    # str.splitlines also splits at characters that names of files may hold.
    return text.removesuffix("\n").split("\n")


def parse_list(
    lines: Sequence[str], layout: LineLayout, *, prefix: str = "", classes: Classes = UNBOUND
) -> tuple[list[ListedClip], list[Problem]]:
    """Return the clips of a list, and what is wrong with its other lines.

    Args:
        lines: Lines of the list.
        layout: How they are laid out.
        prefix: Folder or URL that relative paths begin at.
        classes: The bound of the labels.
    """
    clips, problems = [], []
    for number, line in enumerate(lines, start=1):
        try:
            path, labels = split_line(line, layout)
            labels = tuple(_parse_label(label, classes) for label in labels)
            clips.append(ListedClip(number, storage.join(prefix, path), labels))
        except ValueError as error:
            problems.append(Problem(number, str(error)))
    return clips, problems


def describe_problems(ann_file: str, problems: Sequence[Problem]) -> str:
    """Phrase one problem as a line of its own, several as a list that ends with how many more."""
    if len(problems) == 1:
        return f"{ann_file}, line {problems[0].line}: {problems[0].finding}"
    return "\n  ".join(_list_problems(ann_file, problems))


def _list_problems(ann_file: str, problems: Sequence[Problem]) -> Iterator[str]:
    yield f"{len(problems)} problems in {ann_file}:"
    for problem in problems[:MAX_SHOWN]:
        yield f"line {problem.line}: {problem.finding}"
    if len(problems) > MAX_SHOWN:
        yield f"and {len(problems) - MAX_SHOWN} more"


def split_line(line: str, layout: LineLayout) -> tuple[str, list[str]]:
    """Return path and labels as they stand in a line, without the blanks around them.

    Raises:
        ValueError: Path or label lacks, or there are more fields than the layout has.
    """
    stripped = line.strip()
    if layout.is_label_last and not layout.has_many_labels:
        path, *labels = stripped.rsplit(layout.delimiter, 1) or [""]
    else:
        path, *rest = stripped.split(layout.delimiter) or [""]
        labels = rest[layout.num_between :]
    if not path or not (len(labels) == 1 or (labels and layout.has_many_labels)):
        raise ValueError(f"{line!r} is not {_form(layout)}")
    return path.rstrip(), [label.strip() for label in labels]


def _form(layout: LineLayout) -> str:
    """Say how a line should look."""
    fields = "folder frames label" if layout.num_between else "path label"
    separator = "blanks" if layout.delimiter is None else f"delimiter={layout.delimiter!r}"
    form = f"{fields!r}, separated by {separator}"
    if layout.is_label_last and not layout.has_many_labels:
        return form
    return f"{form}; paths with blanks need another delimiter"


def is_whole_number(label: str) -> bool:
    """Tell whether a field is what a label has to be."""
    digits = label.removeprefix("-")
    return digits.isascii() and digits.isdecimal()


def _parse_label(label: str, classes: Classes) -> int:
    if not is_whole_number(label):
        raise ValueError(f"label {label!r} is not a whole number")
    number = int(label)
    if classes.count is not None and not 0 <= number < classes.count:
        raise ValueError(
            f"label {number} is not within 0 ... {classes.count - 1}; labels start at 0, and "
            f"{classes.named_by} is {classes.count}"
        )
    if number < 0:
        raise ValueError(f"label {number} is negative; labels start at 0")
    return number
