"""Golden arrays: what counts as a change, and what is written when."""

import numpy as np
import pytest

from amflow_mm.testing import (
    assert_matches_golden,
    largest_change,
    load_golden,
    read_provenance,
    regenerate,
    save_golden,
)

ARRAYS = {"x": np.arange(6.0).reshape(2, 3), "y": np.array([1.5], dtype=np.float32)}


def changed(name, value):
    return ARRAYS | {name: value}


@pytest.fixture
def golden(tmp_path):
    path = tmp_path / "folder" / "case.npz"
    save_golden(path, ARRAYS, provenance="made by hand")
    return path


def test_arrays_and_provenance_survive(golden):
    loaded = load_golden(golden)
    assert loaded.keys() == ARRAYS.keys()
    assert all(np.array_equal(loaded[name], ARRAYS[name]) for name in ARRAYS)
    assert loaded["y"].dtype == np.float32
    assert read_provenance(golden) == "made by hand"


def test_equal_arrays_match(golden):
    assert_matches_golden(golden, ARRAYS)
    assert_matches_golden(golden, changed("x", ARRAYS["x"] + 1e-7))


def test_two_tokens_that_change_places_are_seen_though_the_mean_is_the_same(golden):
    swapped = ARRAYS["x"][::-1]
    assert swapped.mean() == ARRAYS["x"].mean()
    with pytest.raises(AssertionError, match=r"case\.npz: x"):
        assert_matches_golden(golden, changed("x", swapped))


def test_the_tolerance_is_obeyed(golden):
    nudged = changed("y", ARRAYS["y"] + 0.01)
    assert_matches_golden(golden, nudged, tolerance=0.1)
    with pytest.raises(AssertionError, match=r"case\.npz: y"):
        assert_matches_golden(golden, nudged)


def test_other_names_or_shapes_do_not_match(golden):
    with pytest.raises(AssertionError, match=r"holds \['x', 'y'\], the code computes \['x'\]"):
        assert_matches_golden(golden, {"x": ARRAYS["x"]})
    with pytest.raises(AssertionError, match="shapes"):
        assert_matches_golden(golden, changed("x", ARRAYS["x"].T))


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="run `make golden`"):
        load_golden(tmp_path / "absent.npz")


def test_the_name_of_the_provenance_is_reserved(tmp_path):
    with pytest.raises(ValueError, match="'provenance' is reserved"):
        save_golden(tmp_path / "x.npz", {"provenance": np.zeros(1)}, provenance="")


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (ARRAYS, 0.0),
        (changed("x", ARRAYS["x"] + np.array([0, 0, 0.25])), 0.25),
        (changed("x", ARRAYS["x"].T), np.inf),
        (changed("y", np.array([np.nan])), np.inf),
        ({"x": ARRAYS["x"]}, np.inf),
        (changed("z", np.zeros(1)), np.inf),
    ],
)
def test_the_largest_change_is_that_of_any_entry(after, expected):
    assert largest_change(ARRAYS, after) == expected


def test_regenerating_writes_what_is_new_or_changed_and_reports_it(tmp_path):
    cases = {"kept": lambda: ARRAYS, "moved": lambda: ARRAYS}
    first = regenerate(cases, tmp_path, provenance="first")
    assert first == {"kept": np.inf, "moved": np.inf}
    cases["moved"] = lambda: changed("y", ARRAYS["y"] - 0.5)
    second = regenerate(cases, tmp_path, provenance="second")
    assert second == {"kept": 0.0, "moved": 0.5}
    assert read_provenance(tmp_path / "kept.npz") == "first"
    assert read_provenance(tmp_path / "moved.npz") == "second"
    assert load_golden(tmp_path / "moved.npz")["y"] == [1.0]
