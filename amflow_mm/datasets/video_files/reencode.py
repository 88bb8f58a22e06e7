"""Re-encode the videos of a list or folder into another folder, side by side and resumable."""

import csv
import os
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.datasets.decoding.errors import UnreadableVideoError
from amflow_mm.datasets.video_files.encode_options import EncodeOptions
from amflow_mm.datasets.video_files.journal import open_alone
from amflow_mm.datasets.video_files.listing import VideoList, VideoListError, write_lines
from amflow_mm.datasets.video_files.parallel import run_isolated
from amflow_mm.datasets.video_files.transcode import (
    Transcoded,
    TranscodingError,
    make_mark,
    read_mark,
    transcode_video,
)
from amflow_mm.errors import UserError

LOCK_NAME = ".reencode.lock"
FAILURES_NAME = "failures.csv"
LEFTOVER = re.compile(r"\..*-[0-9a-f]{32}\.part")
"""Names that `atomic_path` gives to files that a killed run leaves behind."""


class OutputFolderError(UserError, ValueError):
    """Results cannot be written where they were asked for."""


class DiskFullError(UserError, OSError):
    """There is too little room to go on."""


@dataclass(frozen=True)
class Job:
    """One video to re-encode.

    Attributes:
        source: The video.
        target: The file to write.
        options: Of the encoding.
        overwrite: Whether a target that was not written here is replaced.
    """

    source: Path
    target: Path
    options: EncodeOptions
    overwrite: bool = False


@dataclass(frozen=True)
class JobResult:
    """What became of a job.

    Attributes:
        status: ``written``, ``kept`` where an earlier run has written it, or ``failed``.
        reason: Why it failed.
        transcoded: What was written.
    """

    status: Literal["written", "kept", "failed"]
    reason: str = ""
    transcoded: Transcoded | None = None


@dataclass(frozen=True)
class Reencoding:
    """A finished run.

    Attributes:
        results: Of each source.
        targets: Of each source.
    """

    results: dict[Path, JobResult]
    targets: dict[Path, Path]

    def count(self, status: Literal["written", "kept", "failed"]) -> int:
        """Count the videos with this end."""
        return sum(result.status == status for result in self.results.values())

    def failures(self) -> dict[Path, str]:
        """Return why which sources failed."""
        failed = {s: r.reason for s, r in self.results.items() if r.status == "failed"}
        return dict(sorted(failed.items()))

    def num_bytes(self) -> tuple[int, int]:
        """Return the bytes of all sources that have a result, and of the results."""
        pairs = [(s, self.targets[s]) for s, r in self.results.items() if r.status != "failed"]
        return tuple(sum(os.path.getsize(pair[side]) for pair in pairs) for side in (0, 1))


def plan_jobs(
    videos: VideoList,
    folder: str | os.PathLike[str],
    options: EncodeOptions,
    *,
    overwrite: bool = False,
) -> list[Job]:
    """Decide which file goes where; nothing is written.

    Raises:
        OutputFolderError: A source would be overwritten, or two have one result.
        VideoListError: A listed video is outside the list's root.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputFolderError(f"{folder} is a file; give a folder for the results")
    _refuse_nesting(videos, folder)
    names = _choose_names(videos)
    real_sources = {os.path.realpath(source) for source in names}
    sources_by_target: dict[str, Path] = {}
    for source, name in names.items():
        target = folder / name
        real = os.path.realpath(target)
        if real in real_sources or _is_same(target, source):
            raise OutputFolderError(
                f"{target} is one of the videos to re-encode, or a link to one, and is never "
                "overwritten; give another folder"
            )
        if real in sources_by_target:
            raise OutputFolderError(
                f"{sources_by_target[real]} and {source} would both become {target}; rename one"
            )
        sources_by_target[real] = source
    return [Job(source, folder / name, options, overwrite) for source, name in names.items()]


def _choose_names(videos: VideoList) -> dict[Path, str]:
    """Return the names of the results, relative to their folder, by source.

    Where ``a.avi`` and ``a.mp4`` stand beside each other the former becomes ``a.avi.mp4``.
    """
    relative = {}
    for video in videos.videos:
        relative[video.path] = Path(os.path.relpath(video.path, videos.root))
        if relative[video.path].parts[0] == os.pardir:
            raise VideoListError(
                f"{videos.source}: {video.name} is outside {videos.root}; give a root that holds "
                "all videos"
            )
    uses = Counter(path.with_suffix(".mp4") for path in relative.values())
    return {
        source: (
            path.with_suffix(".mp4")
            if uses[path.with_suffix(".mp4")] == 1 or path.suffix == ".mp4"
            else path.with_name(f"{path.name}.mp4")
        ).as_posix()
        for source, path in relative.items()
    }


def reencode_videos(
    jobs: Sequence[Job],
    folder: str | os.PathLike[str],
    *,
    num_processes: int,
    timeout: float,
    min_free_bytes: int = 1 << 30,
) -> Reencoding:
    """Do the jobs that no earlier run has done.

    A video that fails is told and does not stop the others; the next run tries it again. Results
    bear in them what they were made from, so a run that was killed just goes on.

    Args:
        jobs: As `plan_jobs` returns them.
        folder: Of the results; ``failures.csv`` is written there.
        num_processes: Videos that are encoded side by side, each on one thread.
        timeout: Seconds that one video may take.
        min_free_bytes: The run stops before less is free.

    Raises:
        FolderInUseError: Another run writes there.
        DiskFullError: There is too little room to go on.
    """
    folder = Path(folder)
    results = {}
    with open_alone(folder / LOCK_NAME):
        _remove_leftovers(folder)
        _require_room(folder, min_free_bytes)
        for job, outcome in run_isolated(
            do_job,
            jobs,
            num_processes=num_processes,
            timeout=timeout,
            description="re-encoded videos",
        ):
            result = outcome.value
            if outcome.error is not None:
                result = JobResult("failed", f"{outcome.error.kind}: {outcome.error.text}")
            results[job.source] = result
            _require_room(folder, min_free_bytes)
        done = Reencoding(results, {job.source: job.target for job in jobs})
        _write_failures(done, folder / FAILURES_NAME)
    return done


def do_job(job: Job) -> JobResult:
    """Re-encode one video, if an earlier run has not."""
    try:
        if job.target.exists() and job.source.exists():
            found, expected = read_mark(job.target), make_mark(job.source, job.options)
            if found == expected:
                return JobResult("kept")
            is_ours = found is not None and found.source == expected.source
            if not is_ours and not job.overwrite:
                origin = f"was made from {found.source}" if found else "is not of this tool"
                return JobResult(
                    "failed", f"{job.target} exists and {origin}; --overwrite replaces it"
                )
        return JobResult("written", transcoded=transcode_video(job.source, job.target, job.options))
    except (UnreadableVideoError, TranscodingError) as error:
        return JobResult("failed", str(error))


def write_new_list(
    videos: VideoList,
    done: Reencoding,
    folder: str | os.PathLike[str],
    path: str | os.PathLike[str],
) -> tuple[int, int]:
    """Write the list with the paths of the results; what follows the path in a line stays.

    Args:
        videos: The list.
        done: Its videos, re-encoded; those that failed are left out.
        folder: Of the results, which the new paths are relative to.
        path: Of the new list.

    Returns:
        Number of lines written and of lines left out.
    """
    lines = []
    for video in videos.videos:
        if done.results[video.path].status != "failed":
            name = done.targets[video.path].relative_to(folder).as_posix()
            # A line begins with its path.
            lines.append(video.line.replace(video.name.encode(), name.encode(), 1))
    write_lines(path, lines)
    return len(lines), len(videos.videos) - len(lines)


def _refuse_nesting(videos: VideoList, folder: Path) -> None:
    """Refuse the folder of the sources; of a folder also what is inside, which it would take up."""
    target, root = Path(os.path.realpath(folder)), Path(os.path.realpath(videos.root))
    is_inside = videos.is_folder and root in target.parents
    if target == root or is_inside:
        place = "inside" if is_inside else "the folder of"
        raise OutputFolderError(
            f"{folder} is {place} the videos to re-encode, {videos.root}; give another folder"
        )


def _is_same(target: Path, source: Path) -> bool:
    return target.exists() and source.exists() and os.path.samefile(target, source)


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed runs have half written; nobody else writes here now."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if LEFTOVER.fullmatch(name):
                Path(parent, name).unlink()


def _require_room(folder: Path, min_free_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < min_free_bytes:
        raise DiskFullError(
            f"{folder}: {free / 1e9:.1f} GB are free, less than the {min_free_bytes / 1e9:.1f} GB "
            "to be left; make room and start again: what is done stays done"
        )


def _write_failures(done: Reencoding, path: Path) -> None:
    """Write what failed and why; remove the list of an earlier run if nothing has."""
    failures = done.failures()
    if not failures:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["source", "reason"])
        writer.writerows(failures.items())
