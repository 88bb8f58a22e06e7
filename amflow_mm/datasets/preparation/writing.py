"""From a plan to files: lists, classes, what is missing, links, manifest, report."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from amflow_mm.datasets.preparation.list_files import (
    check_path,
    write_lines,
    write_list,
    write_names,
    write_text,
)
from amflow_mm.datasets.preparation.lookup import (
    FoundSplit,
    find_extra_files,
    find_shared,
    find_videos,
)
from amflow_mm.datasets.preparation.manifest import Checksum, ManifestRow, write_manifest
from amflow_mm.datasets.preparation.plan import Finding, Plan, PreparationError
from amflow_mm.datasets.preparation.published_counts import PUBLISHED
from amflow_mm.datasets.preparation.report import Report
from amflow_mm.datasets.storage import StoredPath, is_remote, local_path

MANIFEST_FILE = "manifest.csv"
REPORT_FILE = "report.json"
EXTRA_FILE = "extra_files.txt"


@dataclass(frozen=True)
class ManifestOptions:
    """How the videos are looked into.

    Attributes:
        checksum: ``none``, ``quick`` or ``sha256``.
        num_workers: Processes.
        timeout: Seconds that one file may take.
    """

    checksum: Checksum = "quick"
    num_workers: int = 1
    timeout: float = 60.0


def write_dataset(plan: Plan, out: StoredPath, manifest: ManifestOptions | None = None) -> Report:
    """Write all files of a data set.

    Nothing is written before it is known that there are videos and that the lists can name them.

    Args:
        plan: What is to be written.
        out: Folder of the data set, such as ``data/kinetics400``.
        manifest: How the videos are looked into; None to leave them closed.

    Raises:
        PreparationError: Not one listed video was found, or a list cannot carry the name of one.
    """
    if is_remote(out):
        raise PreparationError(f"--out {out} must be a folder on a disk; copy the lists afterwards")
    out = Path(local_path(out))
    found = find_videos(plan)
    for result in found:
        for path, _ in result.videos:
            check_path(path)
    findings = [*plan.findings, *_check_classes(plan), *_check_splits(found)]
    extra = find_extra_files(found)
    for result in found:
        write_list(out / result.split.list_file, result.videos)
        write_names(out / f"missing_{result.split.name}.txt", result.missing)
    write_names(out / EXTRA_FILE, extra)
    for name, classes in plan.classes.items():
        write_lines(out / name, classes)
    for name, text in plan.other_files.items():
        write_text(out / name, text)
    findings.append(Finding(f"videos in no list ({EXTRA_FILE})", extra))
    findings.extend(_link_videos(found, out))
    rows = None
    if manifest is not None:
        rows = _write_manifest(found, out, manifest)
        findings.append(_find_copies(found, rows))
    report = Report(plan, out, found, [item for item in findings if item.names], rows)
    report.write(out / REPORT_FILE)
    return report


def _check_classes(plan: Plan) -> list[Finding]:
    """Compare the number of classes with the published one."""
    if plan.dataset not in PUBLISHED:
        return []
    expected = PUBLISHED[plan.dataset].num_classes
    return [
        Finding(f"classes in {name}, where {expected[name]} are published", classes)
        for name, classes in plan.classes.items()
        if len(classes) != expected[name]
    ]


def _check_splits(found: Sequence[FoundSplit]) -> list[Finding]:
    """Collect what is odd about what was found."""
    ambiguous = {path for result in found for path in result.ambiguous}
    findings = [Finding("files passed over for another of the same name", tuple(sorted(ambiguous)))]
    for protocol, results in _by_protocol(found).items():
        findings.append(find_shared(results, f" of {protocol}" if protocol else ""))
    return findings


def _by_protocol(found: Sequence[FoundSplit]) -> dict[str, list[FoundSplit]]:
    """Sort the splits by protocol; different protocols share videos."""
    protocols: dict[str, list[FoundSplit]] = defaultdict(list)
    for result in found:
        for protocol in result.split.protocols:
            protocols[protocol].append(result)
    return protocols


def _link_videos(found: Sequence[FoundSplit], out: Path) -> list[Finding]:
    """Make the folders that the configs read, as links, where the videos are somewhere else."""
    elsewhere = []
    for place, folder in {r.split.place: r.split.index.folder for r in found}.items():
        link = out / place
        if not folder.is_dir():
            continue
        if not os.path.lexists(link):
            link.symlink_to(folder.resolve(), target_is_directory=True)
        elif link.resolve() != folder.resolve():
            elsewhere.append(f"{link} is not {folder}")
    what = "folders that configs read and that are not where the videos were found"
    return [Finding(what, tuple(elsewhere))]


def _write_manifest(
    found: Sequence[FoundSplit], out: Path, options: ManifestOptions
) -> list[ManifestRow]:
    videos = {
        f"{result.split.place}/{path}": result.split.index.folder / path
        for result in found
        for path, _ in result.videos
    }
    return write_manifest(
        out / MANIFEST_FILE,
        videos,
        checksum=options.checksum,
        num_workers=options.num_workers,
        timeout=options.timeout,
    )


def _find_copies(found: Sequence[FoundSplit], rows: Sequence[ManifestRow]) -> Finding:
    """Return files of equal checksum in different splits of one protocol."""
    checksums = {row.path: row.checksum for row in rows if row.checksum}
    copies = set()
    for results in _by_protocol(found).values():
        first: dict[str, tuple[str, str]] = {}
        for result in results:
            for path, _ in result.videos:
                name = f"{result.split.place}/{path}"
                split, other = first.setdefault(
                    checksums.get(name, name), (result.split.name, name)
                )
                if split != result.split.name and other != name:
                    copies.add(f"{other} = {name}")
    return Finding("copies of one file in several splits", tuple(sorted(copies)))
