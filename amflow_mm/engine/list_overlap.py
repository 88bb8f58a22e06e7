"""Videos that stand in annotation lists where they should not stand twice."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from amflow_mm.datasets.annotation_list import ListedClip

NUM_EXAMPLES = 3


class CheckedList(NamedTuple):
    """A list without a fault.

    Args:
        name: Its file.
        clips: Its lines, paths complete.
    """

    name: str
    clips: Sequence[ListedClip]


def find_conflicts(lists: Iterable[CheckedList]) -> Iterator[str]:
    """Tell of lists in which a video stands twice, with different labels."""
    for checked in lists:
        first: dict[str, ListedClip] = {}
        examples = []
        for clip in checked.clips:
            other = first.setdefault(os.path.normpath(clip.path), clip)
            if sorted(other.labels) != sorted(clip.labels):
                examples.append(f"{clip.path} ({_labelled(other)}, {_labelled(clip)})")
        if examples:
            yield (
                f"{checked.name}: lines that list a video again with another label: "
                f"{len(examples)}, such as {', '.join(examples[:NUM_EXAMPLES])}; one of the labels "
                "is wrong, or the data set needs multi_class"
            )


def find_overlaps(train: Iterable[CheckedList], test: Iterable[CheckedList]) -> Iterator[str]:
    """Tell of lists for validation or test that hold videos of a list for training."""
    test = list(test)
    for trained in train:
        lines = {os.path.normpath(clip.path): clip.line for clip in trained.clips}
        for tested in test:
            examples = []
            for clip in tested.clips:
                line = lines.get(os.path.normpath(clip.path))
                if line is not None:
                    examples.append(f"{clip.path} (lines {line} and {clip.line})")
            if examples:
                yield (
                    f"{len(examples)} of {len(tested.clips)} videos of {tested.name} are in "
                    f"{trained.name} too, such as {', '.join(examples[:NUM_EXAMPLES])}; accuracy "
                    "on videos that a model was trained on says nothing about others"
                )


def _labelled(clip: ListedClip) -> str:
    return f"line {clip.line}: {' '.join(map(str, clip.labels))}"
