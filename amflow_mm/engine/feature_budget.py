"""How much disk the features of a run will take, told and limited before they are computed."""

from collections.abc import Sequence
from pathlib import Path

from amflow_mm.datasets import FeatureStore
from amflow_mm.engine.kept_features import KeptFeatures

UNITS = ("B", "kB", "MB", "GB", "TB")


def describe_bytes(number: float) -> str:
    """Return a number of bytes with three digits: 12.3 GB."""
    for unit in UNITS:
        if number < 999.5 or unit == UNITS[-1]:
            break
        number /= 1000
    digits = 0 if number >= 99.95 or unit == "B" else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f} {unit}"


class FeatureBudget:
    """What a few data sets will take in their folders, and may.

    Args:
        parts: The data sets whose features are incomplete.
        kept_as: Their form.
        max_gigabytes: Limit of all features in a ``cache_dir`` together, those of other runs too,
            in 1e9 bytes; None for none.
    """

    def __init__(
        self, parts: Sequence[KeptFeatures], *, kept_as: str, max_gigabytes: float | None
    ) -> None:
        self.parts = parts
        self.kept_as = kept_as
        self.max_gigabytes = max_gigabytes
        self.sizes = [part.num_bytes() for part in parts]

    def lines(self) -> list[str]:
        """Describe each data set."""
        limit = "no limit" if self.max_gigabytes is None else f"limit {self.max_gigabytes:g} GB"
        lines = []
        for part, sizes in zip(self.parts, self.sizes, strict=True):
            size, num_rows = sum(sizes.values()), part.dataset.num_rows
            num_there = num_rows - len(part.missing_rows())
            there = f"; {num_there:,} rows are there" if num_there else ""
            lines.append(
                f"frozen features, {part.name}: {describe_bytes(size)} for {num_rows:,} rows, "
                f"{describe_bytes(size / num_rows)} a row, {limit}{there}"
            )
        return lines

    def complaint(self) -> str | None:
        """Say what exceeds the limit, and what can be done; None if nothing does."""
        if self.max_gigabytes is None:
            return None
        for folder in dict.fromkeys(part.dataset.cache_dir for part in self.parts):
            there, to_come = _stored_bytes(folder), sum(self._to_come(folder).values())
            if there + to_come > self.max_gigabytes * 1e9:
                return self._explain(folder, there, to_come)
        return None

    def _to_come(self, folder: Path) -> dict[Path, int]:
        """Return the stores to be made, each once though several data sets may share it."""
        return {
            store.folder: size
            for part, sizes in zip(self.parts, self.sizes, strict=True)
            for store, size in sizes.items()
            if part.dataset.cache_dir == folder and not store.exists
        }

    def _explain(self, folder: Path, there: int, to_come: int) -> str:
        per_set = ", ".join(
            f"{part.name} {describe_bytes(sum(sizes.values()))}"
            for part, sizes in zip(self.parts, self.sizes, strict=True)
        )
        smaller = "" if self.kept_as == "int8" else 'kept_as="int8" (half the bytes), '
        return (
            f"max_gigabytes={self.max_gigabytes:g} of FrozenFeatureHook is less than the "
            f"{describe_bytes(there + to_come)} that kept features would take in {folder}: "
            f"{describe_bytes(to_come)} to come and {describe_bytes(there)} there, other runs' "
            f"included (this run: {per_set}); choose fewer draws (num_draws of "
            f"FrozenFeatureDataset), {smaller}fewer layers (model.backbone.layers), a larger "
            "max_gigabytes, remove what other runs have left, or train from the videos, without "
            "FrozenFeatureDataset"
        )


def _stored_bytes(folder: Path) -> int:
    """Return what all features in a folder take once their rows are there."""
    stores = (FeatureStore(path.parent, 0) for path in folder.glob("*/layout.json"))
    return sum(store.num_bytes() for store in stores)
