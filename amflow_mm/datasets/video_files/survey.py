"""Examine many video files side by side, and go on where an earlier run was cut off."""

import dataclasses
import math
import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amflow_mm.datasets.video_files.examine import (
    EXAMINATION_VERSION,
    UNUSABLE_KINDS,
    FileReport,
    Kind,
    examine_video,
)
from amflow_mm.datasets.video_files.journal import file_key, open_journal
from amflow_mm.datasets.video_files.listing import ListedVideo, VideoList, write_lines
from amflow_mm.datasets.video_files.parallel import ItemError, run_isolated

JOURNAL_NAME = "journal.jsonl"


@dataclass(frozen=True)
class Survey:
    """Reports of some files.

    Attributes:
        lists: Where the files were named.
        reports: By path, in the order of the lists; without files that were not in the sample.
        unusable_kinds: Kinds that make a file unusable.
    """

    lists: tuple[VideoList, ...]
    reports: Mapping[str, FileReport]
    unusable_kinds: tuple[Kind, ...] = UNUSABLE_KINDS

    def is_usable(self, report: FileReport) -> bool:
        """Tell whether a file can be trained on."""
        return not set(report.kinds) & set(self.unusable_kinds)

    def count_kinds(self) -> Counter[Kind]:
        """Count the files that are reported for each kind."""
        return Counter(kind for report in self.reports.values() for kind in report.kinds)

    def unusable(self) -> list[FileReport]:
        """Return the reports of the files that cannot be used."""
        return [report for report in self.reports.values() if not self.is_usable(report)]

    def keep(self, videos: VideoList) -> list[ListedVideo]:
        """Return the videos of a list that can be used, or were not looked at."""
        unusable = {report.path for report in self.unusable()}
        return [video for video in videos.videos if str(video.path) not in unusable]


def survey_videos(
    lists: Sequence[VideoList],
    folder: str | os.PathLike[str],
    *,
    num_processes: int,
    timeout: float,
    sample: int | float | None = None,
    seed: int = 0,
    restart: bool = False,
    unusable_kinds: Sequence[Kind] = UNUSABLE_KINDS,
) -> Survey:
    """Decode the videos of some lists, each file once.

    Results are kept as they come. A later run looks again only at files that have changed, and at
    those that crashed or took too long, which may have been the machine's fault.

    Args:
        lists: As `read_source` and `read_lists_of_config` return them.
        folder: Where the journal is kept; made if it is missing.
        num_processes: Files that are decoded side by side, each on one thread.
        timeout: Seconds that one file may take.
        sample: Videos to look at, chosen at random: an int for a number of them, a float for
            a part of all, None for all.
        seed: Of the choice.
        restart: Forget what earlier runs have found.
        unusable_kinds: Kinds that make a file unusable.

    Raises:
        FolderInUseError: Another run uses the folder.
    """
    names = [str(video.path) for videos in lists for video in videos.videos]
    paths = _choose(list(dict.fromkeys(names)), sample, seed)
    reports = {}
    journal_path = Path(folder) / JOURNAL_NAME
    with open_journal(journal_path, version=EXAMINATION_VERSION, restart=restart) as journal:
        # Keys are taken before decoding: a file that changes meanwhile is looked at again.
        keys = {path: file_key(path) for path in paths}
        for path, key in keys.items():
            known = journal.get(key)
            if known is not None:
                reports[path] = FileReport(
                    **{**known, "kinds": tuple(known["kinds"]), "path": path}
                )
        waiting = [path for path in paths if path not in reports]
        for path, outcome in run_isolated(
            examine_video,
            waiting,
            num_processes=num_processes,
            timeout=timeout,
            description="videos",
            num_done=len(reports),
        ):
            if outcome.error is None:
                reports[path] = outcome.value
                journal.add(keys[path], dataclasses.asdict(outcome.value))
            else:
                reports[path] = _report_failure(path, outcome.error)
    ordered = {path: reports[path] for path in paths}
    return Survey(tuple(lists), ordered, tuple(unusable_kinds))


def write_clean_lists(survey: Survey, target: str | os.PathLike[str]) -> list[Path]:
    """Write the lists without what cannot be used; lines that stay are the same to the byte.

    Args:
        survey: Of the lists.
        target: File of the list; with several lists a folder, in which they keep their names.

    Returns:
        The files written.
    """
    target = Path(target)
    if len(survey.lists) == 1:
        targets = [target]
    else:
        targets = [target / name for name in _distinct_names(survey.lists)]
    for videos, path in zip(survey.lists, targets, strict=True):
        kept = survey.keep(videos)
        write_lines(path, [v.line or f"{v.name}\n".encode() for v in kept])
    return targets


def _distinct_names(lists: Sequence[VideoList]) -> list[str]:
    names = Counter(videos.source.name for videos in lists)
    return [
        videos.source.name
        if names[videos.source.name] == 1
        else f"{videos.source.parent.name}_{videos.source.name}"
        for videos in lists
    ]


def _choose(paths: list[str], sample: int | float | None, seed: int) -> list[str]:
    """Choose some of the paths at random and keep their order."""
    if sample is None:
        return paths
    if not sample > 0:
        raise ValueError(f"sample={sample} must be > 0: a number of files, or a part of all")
    count = math.ceil(sample * len(paths)) if isinstance(sample, float) else sample
    chosen = set(random.Random(seed).sample(range(len(paths)), min(count, len(paths))))
    return [path for index, path in enumerate(paths) if index in chosen]


def _report_failure(path: str, error: ItemError) -> FileReport:
    """Report a file whose examination had no result."""
    kind: Kind = "unreadable" if error.kind == "error" else error.kind
    num_bytes = os.path.getsize(path) if os.path.isfile(path) else 0
    return FileReport(path, (kind,), error.text, num_bytes=num_bytes)
