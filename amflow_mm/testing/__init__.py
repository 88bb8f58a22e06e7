"""Tools for tests: weights without a generator, golden arrays. Imported from tests only."""

from amflow_mm.testing.fixed_init import fixed_init_, fixed_tensor
from amflow_mm.testing.golden import (
    assert_matches_golden,
    largest_change,
    load_golden,
    read_provenance,
    regenerate,
    save_golden,
)

__all__ = [
    "assert_matches_golden",
    "fixed_init_",
    "fixed_tensor",
    "largest_change",
    "load_golden",
    "read_provenance",
    "regenerate",
    "save_golden",
]
