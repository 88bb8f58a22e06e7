"""Today's numbers equal those on file, whole arrays at a time."""

import pytest

from amflow_mm.testing import assert_matches_golden, read_provenance
from tests.golden_cases import CASES, FOLDER


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_have_not_moved(name):
    # A machine with other vector instructions sums in another order: hence not bit for bit.
    assert_matches_golden(FOLDER / f"{name}.npz", CASES[name](), tolerance=1e-4)


def test_every_file_has_a_case_and_says_how_it_was_made():
    files = {path.stem: path for path in FOLDER.glob("*.npz")}
    assert files.keys() == CASES.keys()
    for path in files.values():
        assert "torch" in read_provenance(path)
