import os
import subprocess
import sys

import pytest

from amflow_mm.datasets.video_files.journal import (
    FolderInUseError,
    file_key,
    open_alone,
    open_journal,
)


def test_results_are_found_again(tmp_path):
    path = tmp_path / "new" / "journal.jsonl"
    with open_journal(path, version="1") as journal:
        assert journal.get("a") is None
        journal.add("a", {"x": 1})
        journal.add(None, {"x": 2})
        assert path.read_text().count("\n") == 1  # on disk before the run is over
    with open_journal(path, version="1") as journal:
        assert journal.get("a") == {"x": 1}
        assert journal.get(None) is None


def test_other_versions_and_restarts_start_anew(tmp_path):
    path = tmp_path / "journal.jsonl"
    with open_journal(path, version="1") as journal:
        journal.add("a", {})
    with open_journal(path, version="2") as journal:
        assert journal.get("a") is None
    with open_journal(path, version="1", restart=True) as journal:
        assert journal.get("a") is None
    assert path.read_bytes() == b""


def test_a_cut_line_costs_only_itself(tmp_path):
    path = tmp_path / "journal.jsonl"
    with open_journal(path, version="1") as journal:
        journal.add("a", {"x": 1})
        journal.add("b", {"x": 2})
    path.write_bytes(path.read_bytes()[:-9])
    with open_journal(path, version="1") as journal:
        assert journal.get("a") == {"x": 1}
        assert journal.get("b") is None
        journal.add("b", {"x": 3})
    with open_journal(path, version="1") as journal:
        assert journal.get("b") == {"x": 3}


def test_the_key_of_a_file_tells_its_states_apart(tmp_path):
    path = tmp_path / "a"
    assert file_key(path) is None
    path.write_text("one")
    os.utime(path, ns=(0, 10**9))
    first = file_key(path)
    assert file_key(tmp_path / "." / "a") == first
    path.write_text("three")
    os.utime(path, ns=(0, 10**9))
    assert file_key(path) != first
    path.write_text("two")
    os.utime(path, ns=(0, 10**9 + 1))
    assert file_key(path) != first


def test_a_second_run_is_kept_out(tmp_path):
    path = tmp_path / "lock"
    script = (
        "import sys; from amflow_mm.datasets.video_files.journal import open_alone\n"
        f"with open_alone({str(path)!r}): pass"
    )
    with open_alone(path):
        with pytest.raises(FolderInUseError, match=r"in use by another run \(lock is locked\)"):
            open_alone(path).__enter__()
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
        assert "FolderInUseError" in done.stderr
    with open_alone(path):
        pass
