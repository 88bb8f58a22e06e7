"""Decoding of damaged videos: nothing may crash, hang, or come out as a picture that it is not."""

import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from amflow_mm.datasets.decoding.backends import BackendName
from amflow_mm.datasets.decoding.errors import UnreadableVideoError
from amflow_mm.datasets.decoding.mutations import mutate
from amflow_mm.datasets.decoding.opening import open_video
from amflow_mm.datasets.video_files.parallel import run_isolated

NUM_FRAMES = 8
"""Frames that are read of each file, evenly spread."""

PATIENCE = 4.0
"""Times the timeout of a video after which its process counts as hanging."""


@dataclass(frozen=True)
class Case:
    """One damaged file and who is to decode it.

    Attributes:
        video: The whole file that is damaged.
        seed: Of the damage.
        backend: Decoder.
    """

    video: Path
    seed: int
    backend: BackendName


@dataclass(frozen=True)
class Finding:
    """What became of one damaged file.

    Attributes:
        case: The file.
        damage: Kind of damage; empty where the process did not live to tell.
        outcome: ``read``, the reason why not, or one of `FAILURES`.
        detail: More words on a failure.
    """

    case: Case
    damage: str
    outcome: str
    detail: str = ""


FAILURES = ("process died", "process hangs", "other error", "blank frames")
"""Outcomes that must not happen, whatever the file."""


@dataclass
class FuzzReport:
    """All findings.

    Attributes:
        findings: In the order in which they came in.
    """

    findings: list[Finding] = field(default_factory=list)

    def failures(self) -> list[Finding]:
        """Return what must not happen."""
        return [finding for finding in self.findings if finding.outcome in FAILURES]

    def format(self) -> str:
        """Return a table of outcomes by backend, and the failures one by one."""
        backends = list(dict.fromkeys(finding.case.backend for finding in self.findings))
        counts = Counter((f.outcome, f.case.backend) for f in self.findings)
        outcomes = sorted({f.outcome for f in self.findings}, key=lambda o: (o in FAILURES, o))
        rows = [["", *backends]]
        rows += [[o, *(str(counts[o, backend]) for backend in backends)] for o in outcomes]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
        for finding in self.failures():
            case = finding.case
            where = f"{case.video} seed {case.seed} {case.backend}"
            lines.append(f"{where}: {finding.outcome} {finding.damage} {finding.detail}".rstrip())
        return "\n".join(lines)


def fuzz(
    videos: Sequence[str | os.PathLike[str]],
    backends: Sequence[BackendName],
    folder: str | os.PathLike[str],
    *,
    num_files: int = 1000,
    seed: int = 0,
    timeout: float = 20.0,
    num_processes: int = 1,
) -> FuzzReport:
    """Damage videos in many ways and decode them, each in a child process.

    Args:
        videos: Whole files, taken in turn.
        backends: Each one gets every damaged file.
        folder: For the damaged files; those that lead to a failure stay.
        num_files: Damaged files.
        seed: Of the first file; the same one gives the same files.
        timeout: Seconds that a reader may spend on a file.
        num_processes: Files that are decoded at a time.
    """
    paths = [Path(video) for video in videos]
    cases = [
        Case(paths[i % len(paths)], seed + i, backend)
        for i in range(num_files)
        for backend in backends
    ]
    report = FuzzReport()
    function = partial(examine_case, folder=Path(folder), timeout=timeout)
    done = run_isolated(
        function,
        cases,
        num_processes=num_processes,
        timeout=PATIENCE * timeout,
        description="damaged files",
    )
    for case, outcome in done:
        if outcome.error is None:
            report.findings.append(outcome.value)
        else:
            names = {"crash": "process died", "timeout": "process hangs", "error": "other error"}
            report.findings.append(Finding(case, "", names[outcome.error.kind], outcome.error.text))
    return report


def examine_case(case: Case, *, folder: Path, timeout: float) -> Finding:
    """Damage a file and read frames of it."""
    damage, content = mutate(case.video.read_bytes(), case.seed)
    path = folder / f"{case.video.stem}_{case.seed}_{case.backend}{case.video.suffix}"
    path.write_bytes(content)
    try:
        with _no_warnings():
            images = _read_frames(path, case.backend, timeout)
    except UnreadableVideoError as error:
        path.unlink()
        return Finding(case, damage, error.reason)
    except Exception as error:  # whatever else escapes is what is looked for
        return Finding(case, damage, "other error", f"{type(error).__name__}: {error}")
    if _has_blank(images) and not _has_blank(_read_frames(case.video, "pyav", timeout)):
        return Finding(case, damage, "blank frames")
    path.unlink()
    return Finding(case, damage, "read")


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Keep a thousand truncated files from being logged."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _read_frames(
    path: Path, backend: BackendName, timeout: float
) -> UInt8[np.ndarray, "T height width 3"]:
    """Read evenly spread frames."""
    with open_video(path, backend=backend, timeout=timeout) as reader:
        return reader.read(np.linspace(0, reader.num_frames - 1, NUM_FRAMES).round().astype(int))


def _has_blank(images: UInt8[np.ndarray, "T height width 3"]) -> bool:
    """Tell whether a frame is of zeros only, in RGB (black) or in YUV (green)."""
    first = images[:, :1, :1]
    is_flat = (images == first).all(axis=(1, 2, 3))
    red, green, blue = first[is_flat].reshape(-1, 3).T
    return bool(((red == 0) & (blue == 0) & ((green == 0) | (green > 100))).any())
