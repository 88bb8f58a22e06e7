"""What a data set is to become: its lists, before anybody has looked for the videos."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from amflow_mm.datasets.preparation.video_index import VideoIndex
from amflow_mm.errors import UserError


class PreparationError(UserError, ValueError):
    """The files of a data set are not what its owners distribute, or no list can be made."""


@dataclass(frozen=True)
class Entry:
    """A video as its owners' list names it.

    Attributes:
        name: File name without suffix, or the path relative to the folder of videos.
        label: Number of its class.
        folder: Class folder that it stands in where there are class folders; it decides between
            files of the same name.
        other_names: What the file may be called instead.
    """

    name: str
    label: int
    folder: str | None = None
    other_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """One annotation list that is to be written.

    Attributes:
        name: Such as ``train``.
        entries: Its videos, each once.
        list_file: Name of the list.
        classes_file: Name of the file with its classes.
        index: The videos on disk among which the entries are looked up.
        place: Folder below the output folder in which the configs look for these videos.
        protocols: Names of the protocols that it is a part of; the splits of one protocol must not
            share a video.
        published: How many there should be, where that is known.
    """

    name: str
    entries: tuple[Entry, ...]
    list_file: str
    classes_file: str
    index: VideoIndex
    place: str
    protocols: tuple[str, ...] = ("",)
    published: int | None = None


@dataclass(frozen=True)
class Finding:
    """Something odd that is reported and stops nothing: what it is, and the names it is true of."""

    what: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """All that is to be written for a data set.

    Attributes:
        dataset: Its name.
        splits: Its lists.
        classes: Names of the classes in the order of their numbers, by file.
        findings: What was odd about the owners' files.
        other_files: More text files, by name.
        source: Where the published counts come from.
    """

    dataset: str
    splits: tuple[Split, ...]
    classes: Mapping[str, tuple[str, ...]]
    findings: tuple[Finding, ...] = ()
    other_files: Mapping[str, str] = field(default_factory=dict)
    source: str = ""


def gather_entries(
    numbered: Iterable[tuple[str, Entry]], *, by_folder: bool = False
) -> tuple[tuple[Entry, ...], Finding]:
    """Return the entries, each once, and which were repeated.

    Args:
        numbered: Entries, each with where it stands, such as ``train.csv, line 7``.
        by_folder: Whether the same file name in two class folders is two videos.

    Raises:
        PreparationError: A video stands twice with two labels.
    """
    first: dict[str, tuple[str, Entry]] = {}
    repeated = []
    for where, entry in numbered:
        key = f"{entry.folder}/{entry.name}" if by_folder else entry.name
        if key not in first:
            first[key] = (where, entry)
            continue
        other_where, other = first[key]
        if other.label != entry.label:
            raise PreparationError(
                f"{entry.name} stands in {other_where} with class {other.label} and in {where} "
                f"with class {entry.label}: a video has one class; correct one of the lines"
            )
        repeated.append(entry.name)
    entries = tuple(entry for _, entry in first.values())
    return entries, Finding("lines that repeat another one", tuple(repeated))
