"""Which videos to look at: an annotation list, a folder, or the lists of a config."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amflow_mm.datasets.annotation_list import LineLayout, is_whole_number, split_line
from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.errors import UserError

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".divx", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov"),
    *(".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
)
"""What counts as a video in a folder; a list may name anything."""

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


class VideoListError(UserError, ValueError):
    """A list or folder of videos cannot be used."""


@dataclass(frozen=True)
class ListedVideo:
    """A video of a list.

    Attributes:
        name: As the list has it, or relative to the folder.
        path: Where it is.
        line: The line as it stands in the list, with its end; None in a folder.
    """

    name: str
    path: Path
    line: bytes | None = None


@dataclass(frozen=True)
class VideoList:
    """Some videos and where they are named.

    Attributes:
        source: The list's file, or the folder.
        root: What relative names are relative to.
        videos: In the order of the list, of a folder by name.
    """

    source: Path
    root: Path
    videos: tuple[ListedVideo, ...]

    @property
    def is_folder(self) -> bool:
        """Whether the videos were found in a folder, without a list."""
        return bool(self.videos) and self.videos[0].line is None


def read_source(
    source: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    delimiter: str | None = None,
    has_many_labels: bool = False,
) -> VideoList:
    """Read an annotation list, or look through a folder and those below.

    The label of a line is a whole number behind the last delimiter, so that the path before it may
    hold delimiters. A line that ends in none is a path alone, as a list of a folder has it.

    Args:
        source: List with a line ``path label`` for each video, or a folder.
        root: Folder that the paths of a list are relative to; the list's own by default.
        delimiter: What separates path and label; blanks by default.
        has_many_labels: Whether a line may have several labels; the first delimiter then ends the
            path.

    Raises:
        VideoListError: It is missing, empty or no text.
    """
    source = Path(source)
    if source.is_dir():
        found = VideoList(source, source, tuple(_walk(source)))
    elif source.is_file():
        root = Path(root) if root is not None else source.parent
        if not root.is_dir():
            raise VideoListError(f"{root} does not exist; give the folder of {source}'s videos")
        layout = LineLayout(
            delimiter=delimiter, has_many_labels=has_many_labels, is_label_last=True
        )
        found = VideoList(source, root, tuple(_read_lines(source, root, layout)))
    else:
        raise VideoListError(f"{source} does not exist; give an annotation list or a folder")
    if not found.videos:
        raise VideoListError(f"{source} names no videos")
    return found


def read_lists_of_config(cfg: Mapping[str, Any]) -> list[VideoList]:
    """Read the lists of videos that a config's loaders use, each list once.

    Raises:
        VideoListError: There are none, or one cannot be used.
    """
    parts = [part for loader in LOADERS for part in _find_dicts(cfg.get(loader) or {})]
    lists = {}
    for part in parts:
        prefix = (part.get("data_prefix") or {}).get("video")
        if not part.get("ann_file") or prefix is None:
            continue
        base = part.get("data_root") or ""
        source, root = os.path.join(base, part["ann_file"]), os.path.join(base, prefix) or "."
        key = os.path.realpath(source), os.path.realpath(root)
        if key not in lists:
            lists[key] = read_source(
                source,
                root=root,
                delimiter=part.get("delimiter"),
                has_many_labels=bool(part.get("multi_class")),
            )
    if not lists:
        raise VideoListError(
            "the config's loaders name no list of videos (ann_file with data_prefix.video); give "
            "the list or the folder itself"
        )
    return list(lists.values())


def write_lines(path: str | os.PathLike[str], lines: Sequence[bytes]) -> None:
    """Write a list whose lines are taken over to the byte; it appears when it is whole."""
    with atomic_path(path) as partial:
        partial.write_bytes(b"".join(lines))


def _walk(folder: Path) -> Iterator[ListedVideo]:
    seen = set()  # links may lead in circles
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if os.path.realpath(parent) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        for name in sorted(names):
            if Path(name).suffix.lower() in VIDEO_SUFFIXES and not name.startswith("."):
                path = Path(parent, name)
                yield ListedVideo(path.relative_to(folder).as_posix(), path)


def _read_lines(source: Path, root: Path, layout: LineLayout) -> Iterator[ListedVideo]:
    for number, line in enumerate(source.read_bytes().splitlines(keepends=True), start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError as error:
            raise VideoListError(f"{source}, line {number}: not UTF-8 text ({error})") from error
        if text:
            name = _find_path(text, layout)
            yield ListedVideo(name, root / name, line)


def _find_path(text: str, layout: LineLayout) -> str:
    try:
        path, labels = split_line(text, layout)
    except ValueError:  # there is no label
        return text
    return path if all(map(is_whole_number, labels)) else text


def _find_dicts(node: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every dict inside: data sets stand inside others that repeat or join them."""
    if isinstance(node, Mapping):
        yield node
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for part in node:
            yield from _find_dicts(part)
