"""Looking up the videos that lists name among those that are there."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from amflow_mm.datasets.preparation.plan import Entry, Finding, Plan, PreparationError, Split
from amflow_mm.datasets.preparation.video_index import VideoIndex


@dataclass(frozen=True)
class FoundSplit:
    """A split after its videos were looked up.

    Attributes:
        split: What was looked up.
        videos: Paths relative to the folder of videos, and labels, in the order of the list.
        missing: Names without a file.
        ambiguous: Files that were passed over because another one has the same name.
    """

    split: Split
    videos: tuple[tuple[str, int], ...]
    missing: tuple[str, ...]
    ambiguous: tuple[str, ...]

    def empty_classes(self, classes: Sequence[str]) -> list[str]:
        """Return the classes of which no video was found."""
        counts = Counter(label for _, label in self.videos)
        return [name for number, name in enumerate(classes) if not counts[number]]


def find_videos(plan: Plan) -> list[FoundSplit]:
    """Look up the videos of all splits.

    Raises:
        PreparationError: There is not a single one, which means the wrong folder.
    """
    found = [_find_split(split) for split in plan.splits]
    if not any(result.videos for result in found):
        raise PreparationError(_describe_nothing(plan))
    return found


def find_extra_files(found: Sequence[FoundSplit]) -> tuple[str, ...]:
    """Return the video files that are in no list, by their paths below the places of the splits."""
    used: dict[Path, set[str]] = {}
    indexes: dict[Path, tuple[str, VideoIndex]] = {}
    for result in found:
        folder = result.split.index.folder
        indexes.setdefault(folder, (result.split.place, result.split.index))
        known = used.setdefault(folder, set())
        known.update(path for path, _ in result.videos)
        known.update(result.ambiguous)
    return tuple(
        f"{place}/{path}"
        for folder, (place, index) in indexes.items()
        for path in index.paths
        if path not in used[folder]
    )


def find_shared(found: Sequence[FoundSplit], protocol: str) -> Finding:
    """Return the videos that are in more than one split of a protocol."""
    counts = Counter(
        result.split.index.folder / path
        for result in found
        for path in {path for path, _ in result.videos}
    )
    shared = sorted(path.name for path, count in counts.items() if count > 1)
    return Finding(f"videos in several splits{protocol}", tuple(shared))


def _find_split(split: Split) -> FoundSplit:
    videos, missing, ambiguous = [], [], []
    for entry in split.entries:
        paths = _find_entry(split.index, entry)
        if paths:
            videos.append((paths[0], entry.label))
            ambiguous.extend(paths[1:])
        else:
            missing.append(entry.name)
    return FoundSplit(split, tuple(videos), tuple(missing), tuple(ambiguous))


def _find_entry(index: VideoIndex, entry: Entry) -> list[str]:
    for name in (entry.name, *entry.other_names):
        if paths := index.find(name, entry.folder):
            return paths
    return []


def _describe_nothing(plan: Plan) -> str:
    split = next((split for split in plan.splits if split.entries), None)
    if split is None:
        return f"{plan.dataset}: the lists of the owners name no video"
    paths = split.index.paths
    holds = f"{len(paths)} videos such as {paths[0]}" if paths else "no file with a video's suffix"
    return (
        f"{plan.dataset}: none of the listed videos was found. Looked for names such as "
        f"{split.entries[0].name} in {split.index.folder}, which holds {holds}; give the folder "
        "with --videos"
    )
