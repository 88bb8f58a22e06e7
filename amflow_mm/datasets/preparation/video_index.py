"""The video files below a folder, found by name, whatever folders and suffixes a copy has."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from amflow_mm.datasets.storage import StoredPath, is_remote, local_path
from amflow_mm.datasets.video_files.listing import VIDEO_SUFFIXES
from amflow_mm.errors import UserError


class VideoFolderError(UserError, FileNotFoundError):
    """The folder of videos does not exist or cannot be looked through."""


class VideoIndex:
    """The video files below a folder.

    Args:
        folder: What the paths are relative to.
        paths: Relative paths with forward slashes.
        ignore_case: Take names that differ in upper and lower case for the same.
    """

    def __init__(self, folder: Path, paths: Sequence[str], *, ignore_case: bool = False) -> None:
        self.folder = folder
        self.paths = tuple(sorted(paths))
        self._ignore_case = ignore_case
        self._known = frozenset(paths)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            self._by_stem[self._fold(video_stem(path))].append(path)

    def find(self, name: str, folder: str | None = None) -> list[str]:
        """Return the files that a name may mean, the likeliest first.

        Args:
            name: A relative path, or a file name without suffix.
            folder: Class folder; blanks and underscores are the same in it. A file that stands
                there comes first.
        """
        if name in self._known:
            return [name]
        candidates = self._by_stem.get(self._fold(name), [])
        if len(candidates) < 2:
            return list(candidates)
        wanted = folder and normalize_folder(folder)

        def rank(path: str) -> tuple[bool, bool, str]:
            parent = normalize_folder(PurePosixPath(path).parent.name)
            return parent != wanted, not path.lower().endswith(".mp4"), path

        return sorted(candidates, key=rank)

    def _fold(self, stem: str) -> str:
        return stem.casefold() if self._ignore_case else stem


def index_videos(folder: StoredPath, *, ignore_case: bool = False) -> VideoIndex:
    """Look through a folder and all below it, links included, for files with a video's suffix.

    Raises:
        VideoFolderError: There is no such folder, or it is on other storage than a disk.
    """
    local = require_folder(folder)
    return VideoIndex(local, list(_walk(local)), ignore_case=ignore_case)


def require_folder(folder: StoredPath) -> Path:
    """Return a folder of videos on the local disk.

    Raises:
        VideoFolderError: There is no such folder, or it is on other storage than a disk.
    """
    if is_remote(folder):
        raise VideoFolderError(
            f"{folder} is not on a disk: lists are prepared from local folders; prepare them where "
            "the videos are, or from a copy, and give the configs the remote paths afterwards"
        )
    local = Path(local_path(folder))
    if not local.is_dir():
        raise VideoFolderError(
            f"the folder of videos {local} does not exist; give the right one with --videos"
        )
    return local


def video_stem(path: str) -> str:
    """Return the file name without suffix; downloaders write ``.mp4.mkv``, so all of them go."""
    name = PurePosixPath(path)
    while name.suffix.lower() in VIDEO_SUFFIXES:
        name = name.with_suffix("")
    return name.name


def normalize_folder(name: str) -> str:
    """Write the name of a class folder so that blanks, underscores and case do not matter."""
    return name.replace(" ", "_").casefold()


def _walk(folder: Path, below: str = "", seen: set[str] | None = None) -> Iterator[str]:
    """Yield the relative paths of the video files; links that lead nowhere are none."""
    seen = set() if seen is None else seen
    # Each folder once: links may lead in circles.
    if (real := os.path.realpath(folder)) in seen:
        return
    seen.add(real)
    with os.scandir(folder) as scanned:
        entries = sorted(scanned, key=lambda entry: entry.name)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(Path(entry.path), f"{below}{entry.name}/", seen)
        elif Path(entry.name).suffix.lower() in VIDEO_SUFFIXES and entry.is_file():
            yield below + entry.name
