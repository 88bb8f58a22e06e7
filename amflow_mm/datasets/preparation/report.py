"""What became of a data set: numbers to compare with the published ones, in words and as JSON."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amflow_mm.datasets.preparation.list_files import write_text
from amflow_mm.datasets.preparation.lookup import FoundSplit
from amflow_mm.datasets.preparation.manifest import ManifestRow
from amflow_mm.datasets.preparation.plan import Finding, Plan

MAX_EXAMPLES = 3
"""Names that the printed report gives of a finding; the JSON has all."""


@dataclass(frozen=True)
class Report:
    """What was written and what was odd.

    Attributes:
        plan: What was to be written.
        out: Folder of the data set.
        splits: What was found of it.
        findings: What was odd, without those of which there is no case.
        manifest: Rows of the manifest; None where none was made.
    """

    plan: Plan
    out: Path
    splits: Sequence[FoundSplit]
    findings: Sequence[Finding]
    manifest: Sequence[ManifestRow] | None

    def to_record(self) -> dict[str, Any]:
        """Return all numbers and names for JSON."""
        return {
            "dataset": self.plan.dataset,
            "published_by": self.plan.source or None,
            "splits": {result.split.name: self._describe_split(result) for result in self.splits},
            "findings": [
                {"what": finding.what, "count": len(finding.names), "names": list(finding.names)}
                for finding in self.findings
            ],
            "manifest": None if self.manifest is None else self._describe_manifest(self.manifest),
        }

    def write(self, path: Path) -> None:
        """Write the numbers as JSON."""
        write_text(path, json.dumps(self.to_record(), indent=2, ensure_ascii=True) + "\n")

    def __str__(self) -> str:
        """Return a table of the splits, then what was odd."""
        return "\n".join([*self._table(), *self._remarks()])

    def _describe_split(self, result: FoundSplit) -> dict[str, Any]:
        split = result.split
        return {
            "list": split.list_file,
            "videos": str(split.index.folder),
            "listed": len(split.entries),
            "found": len(result.videos),
            "missing": len(result.missing),
            "published": split.published,
            "classes": len(self.plan.classes[split.classes_file]),
            "classes_without_videos": result.empty_classes(self.plan.classes[split.classes_file]),
        }

    def _describe_manifest(self, rows: Sequence[ManifestRow]) -> dict[str, Any]:
        readable = [row for row in rows if not row.error]
        return {
            "videos": len(rows),
            "unreadable": [row.path for row in rows if row.error],
            "bytes": sum(row.bytes for row in rows),
            "hours": round(sum(row.duration or 0 for row in readable) / 3600, 3),
            "codecs": dict(sorted(Counter(row.codec for row in readable).items())),
        }

    def _table(self) -> list[str]:
        width = max(len("split"), *(len(result.split.name) for result in self.splits))
        head = f"{'split':<{width}}{'published':>11}{'listed':>10}{'found':>10}{'missing':>10}"
        lines = [f"{self.plan.dataset} in {self.out}", f"{head}{'classes':>9}  list"]
        for result in self.splits:
            split = result.split
            published = "" if split.published is None else f"{split.published:,}"
            classes = self.plan.classes[split.classes_file]
            filled = len(classes) - len(result.empty_classes(classes))
            lines.append(
                f"{split.name:<{width}}{published:>11}{len(split.entries):>10,}"
                f"{len(result.videos):>10,}{len(result.missing):>10,}{filled:>9}  {split.list_file}"
            )
        if self.plan.source:
            lines.append(f"published: {self.plan.source}")
        return lines

    def _remarks(self) -> list[str]:
        lines = []
        for result in self.splits:
            names = result.empty_classes(self.plan.classes[result.split.classes_file])
            if names:
                lines.append(_remark(f"classes without a video in {result.split.name}", names))
        lines.extend(_remark(finding.what, finding.names) for finding in self.findings)
        if self.manifest is not None:
            facts = self._describe_manifest(self.manifest)
            codecs = ", ".join(f"{count:,} {name}" for name, count in facts["codecs"].items())
            lines.append(
                f"manifest: {facts['videos']:,} videos, {facts['bytes'] / 1e9:.3f} GB, "
                f"{facts['hours']:.3f} hours; {codecs or 'none readable'}"
            )
            if facts["unreadable"]:
                lines.append(_remark("unreadable, see the column error", facts["unreadable"]))
        return lines


def _remark(what: str, names: Sequence[str]) -> str:
    examples = ", ".join(names[:MAX_EXAMPLES])
    more = ", …" if len(names) > MAX_EXAMPLES else ""
    # A terminal may refuse names that are no text.
    examples = examples.encode("utf-8", "backslashreplace").decode()
    return f"{what}: {len(names):,} ({examples}{more})"
