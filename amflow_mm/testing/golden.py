"""Golden arrays: whole small results kept as ``.npz``, compared entry by entry.

A file holds named arrays (inputs and outputs) and ``provenance``, one line of text that
says how it came about. Whole arrays, never means: a mean cannot see the order of tokens.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

PROVENANCE = "provenance"
Arrays = Mapping[str, np.ndarray]


def save_golden(path: Path, arrays: Arrays, *, provenance: str) -> None:
    """Write ``arrays`` with their provenance to ``path``."""
    if PROVENANCE in arrays:
        raise ValueError(f"array name {PROVENANCE!r} is reserved; rename the array")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays, **{PROVENANCE: np.array(provenance)})


def load_golden(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of ``path``, without the provenance."""
    if not path.is_file():
        raise FileNotFoundError(f"no golden file at {path}; run `make golden` and commit it")
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files if name != PROVENANCE}


def read_provenance(path: Path) -> str:
    """Read the line that says how ``path`` came about."""
    with np.load(path, allow_pickle=False) as stored:
        return str(stored[PROVENANCE])


def largest_change(before: Arrays, after: Arrays) -> float:
    """Return the largest absolute difference; infinite when names or shapes differ."""
    if before.keys() != after.keys():
        return float("inf")
    changes = [0.0]
    for name, old in before.items():
        new = after[name]
        if old.shape != new.shape or np.isnan(old).any() or np.isnan(new).any():
            return float("inf")
        if old.size:
            difference = np.abs(old.astype(np.float64) - new.astype(np.float64))
            changes.append(float(difference.max()))
    return max(changes)


def assert_matches_golden(path: Path, arrays: Arrays, *, tolerance: float = 1e-5) -> None:
    """Raise ``AssertionError`` unless ``arrays`` equal those at ``path``, name by name.

    Args:
        path: The golden file.
        arrays: What the code computes today.
        tolerance: Relative and absolute tolerance of each entry.
    """
    golden = load_golden(path)
    if golden.keys() != arrays.keys():
        raise AssertionError(
            f"{path.name} holds {sorted(golden)}, the code computes {sorted(arrays)}; "
            "run `make golden` if the change is meant"
        )
    for name, expected in golden.items():
        np.testing.assert_allclose(
            arrays[name], expected, rtol=tolerance, atol=tolerance, err_msg=f"{path.name}: {name}"
        )


def regenerate(
    cases: Mapping[str, Callable[[], Arrays]], directory: Path, *, provenance: str
) -> dict[str, float]:
    """Compute every case, write ``<directory>/<name>.npz``, return the largest changes.

    Files that already hold the same numbers, to the bit, are left alone, so that a neutral
    refactor shows no diff.

    Args:
        cases: Functions that compute the arrays, by file stem.
        directory: Where the files live.
        provenance: How the numbers came about; kept in each file.
    """
    changes = {}
    for name, compute in cases.items():
        path = directory / f"{name}.npz"
        arrays = compute()
        change = largest_change(load_golden(path), arrays) if path.is_file() else float("inf")
        if change != 0.0:
            save_golden(path, arrays, provenance=provenance)
        changes[name] = change
    return changes
