"""The manifest: what each video holds, one row a file, kept from run to run.

A row is kept as long as the file has the same size and time of change. A journal takes rows as they
come, so that a run that is cut off loses nothing but the files in flight.
"""

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.datasets.decoding import UnreadableVideoError, probe_video
from amflow_mm.datasets.preparation.plan import PreparationError
from amflow_mm.datasets.video_files.journal import Journal, file_key, open_journal
from amflow_mm.datasets.video_files.parallel import run_isolated
from amflow_mm.hashing import hash_file

Checksum = Literal["none", "quick", "sha256"]
CHECKSUMS: tuple[Checksum, ...] = get_args(Checksum)

SAMPLE_BYTES = 1 << 16
"""Bytes of beginning, middle and end that a quick checksum reads."""

JOURNAL_SUFFIX = ".journal"
JOURNAL_VERSION = 1

Facts = dict[str, int | float | str]
"""Fields of a row that only a look into the file can fill."""


@dataclass(frozen=True)
class ManifestRow:
    """What is known of a video; all but the first fields are empty where it cannot be read.

    Attributes:
        path: Relative to the folder of the data set, with forward slashes.
        bytes: Size of the file.
        modified_ns: Time of its last change, nanoseconds.
        frames: Frames that it holds.
        fps: Frames per second, the average where the rate varies.
        width: Pixels, after rotation.
        height: Likewise.
        codec: Such as ``h264``.
        duration: Seconds.
        checksum: ``quick:…`` or ``sha256:…``.
        error: Why it cannot be read.
    """

    path: str
    bytes: int
    modified_ns: int
    frames: int | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str = ""
    duration: float | None = None
    checksum: str = ""
    error: str = ""

    def is_current(self, status: os.stat_result, checksum: Checksum) -> bool:
        """Tell whether the row still says all about its file; one with an error is tried again."""
        is_same = (self.bytes, self.modified_ns) == (status.st_size, status.st_mtime_ns)
        is_checked = checksum == "none" or self.checksum.startswith(f"{checksum}:")
        return is_same and is_checked and not self.error


COLUMNS = tuple(field.name for field in fields(ManifestRow))
NUMBERS = {
    "bytes": int,
    "modified_ns": int,
    "frames": int,
    "fps": float,
    "width": int,
    "height": int,
    "duration": float,
}


def write_manifest(
    path: Path,
    videos: Mapping[str, Path],
    *,
    checksum: Checksum = "quick",
    num_workers: int = 1,
    timeout: float = 60.0,
) -> list[ManifestRow]:
    """Look into all videos and write a table of what they hold.

    Args:
        path: The table, CSV.
        videos: The files by their names in the table.
        checksum: ``quick`` reads beginning, middle and end of a file, ``sha256`` all of it.
        num_workers: Processes.
        timeout: Seconds that one file may take.

    Returns:
        The rows, sorted by name.
    """
    status = {name: file.stat() for name, file in videos.items()}
    rows = {
        row.path: row
        for row in read_manifest(path)
        if row.path in videos and row.is_current(status[row.path], checksum)
    }
    journal_path = path.with_name(path.name + JOURNAL_SUFFIX)
    with open_journal(journal_path, version=f"{JOURNAL_VERSION} {checksum}") as journal:
        # By file, which several names may mean.
        pending: dict[str, list[str]] = defaultdict(list)
        for name in sorted(videos.keys() - rows.keys()):
            pending[str(videos[name])].append(name)
        look = partial(_describe, checksum=checksum)
        facts = _look_into(list(pending), journal, look, num_workers=num_workers, timeout=timeout)
        for file, known in facts:
            for name in pending[file]:
                size, changed = status[name].st_size, status[name].st_mtime_ns
                rows[name] = ManifestRow(path=name, bytes=size, modified_ns=changed, **known)
        result = [rows[name] for name in sorted(rows)]
        _write_rows(path, result)
        journal_path.unlink()
    return result


def read_manifest(path: str | os.PathLike[str]) -> list[ManifestRow]:
    """Return the rows of a manifest; none where it does not exist.

    Raises:
        PreparationError: The file is something else.
    """
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise PreparationError(
                f"{path} has other columns than a manifest, {','.join(COLUMNS)}; move it away"
            )
        return [_parse(row) for row in reader]


def quick_checksum(path: str | os.PathLike[str]) -> str:
    """Return a digest of size, beginning, middle and end of a file: it tells copies, not damage."""
    size = os.path.getsize(path)
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        for start in (0, (size - SAMPLE_BYTES) // 2, size - SAMPLE_BYTES):
            file.seek(max(0, start))
            digest.update(file.read(SAMPLE_BYTES))
    return f"quick:{digest.hexdigest()[:32]}"


def _look_into(
    files: Sequence[str],
    journal: Journal,
    look: Callable[[str], Facts],
    *,
    num_workers: int,
    timeout: float,
) -> Iterator[tuple[str, Facts]]:
    """Yield what is known of files: what an earlier run has noted, then what is looked up now."""
    # Keys are taken before: a file that changes while it is read is read again by the next run.
    keys = {file: file_key(file) for file in files}
    noted = {file: known for file, key in keys.items() if (known := journal.get(key)) is not None}
    yield from noted.items()
    todo = [file for file in files if file not in noted]
    if not todo:
        return
    outcomes = run_isolated(
        look,
        todo,
        num_processes=num_workers,
        timeout=timeout,
        description="manifest",
        num_done=len(noted),
    )
    for file, outcome in outcomes:
        if outcome.error is None:
            journal.add(keys[file], outcome.value)
            yield file, outcome.value
        else:
            text = _one_line(outcome.error.text)
            yield file, {"error": f"{outcome.error.kind}: {text}"}


def _describe(file: str, *, checksum: Checksum) -> Facts:
    """Look into one file; runs in a process of its own."""
    known: Facts = {}
    if checksum != "none":
        is_quick = checksum == "quick"
        known["checksum"] = quick_checksum(file) if is_quick else f"sha256:{hash_file(file)}"
    try:
        facts = probe_video(file)
    except UnreadableVideoError as error:
        return {**known, "error": f"{error.reason}: {_one_line(str(error))}"}
    return {
        **known,
        "frames": facts.num_frames,
        "fps": round(facts.fps, 6),
        "width": facts.width,
        "height": facts.height,
        "codec": facts.codec,
        "duration": round(facts.duration, 6),
    }


def _one_line(text: str) -> str:
    """Write an error without line breaks: a row is a line, also for the journal."""
    return " ".join(text.split())


def _parse(row: dict[str, str]) -> ManifestRow:
    values = {
        key: (NUMBERS[key](text) if text else None) if key in NUMBERS else text
        for key, text in row.items()
    }
    return ManifestRow(**values)


def _write_rows(path: Path, rows: Sequence[ManifestRow]) -> None:
    with (
        atomic_path(path) as partial_path,
        open(partial_path, "w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)
