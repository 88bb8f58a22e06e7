"""The record of a run."""

import json
import subprocess

import pytest
import torch
from mmengine.config import Config

import amflow_mm
from amflow_mm.engine.reproducibility import (
    collect_run_record,
    collect_versions,
    find_git_commit,
    write_json,
)


def git(folder, *arguments):
    subprocess.run(
        ["git", "-C", folder, "-c", "user.name=x", "-c", "user.email=x@x", *arguments],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def checkout(tmp_path):
    package = tmp_path / "checkout" / "amflow_mm"
    package.mkdir(parents=True)
    (package / "a.py").write_text("1\n")
    git(package.parent, "init", "-q")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-q", "-m", "x")
    return package


def test_commit_of_the_checkout_is_found_and_changes_are_marked(checkout):
    commit = find_git_commit(checkout)
    assert len(commit) == 40
    (checkout / "new.py").touch()
    assert find_git_commit(checkout) == commit  # what git does not track did not run before
    (checkout / "a.py").write_text("2\n")
    assert find_git_commit(checkout) == f"{commit}+"


def test_repository_above_an_installed_package_is_not_ours(checkout):
    installed = checkout.parent / "lib" / "site-packages" / "amflow_mm"
    installed.mkdir(parents=True)
    assert find_git_commit(installed) is None


def test_no_repository_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert find_git_commit(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert find_git_commit(tmp_path) is None


def test_versions_name_what_results_depend_on():
    versions = collect_versions()
    assert versions["torch"].startswith(torch.__version__.split("+")[0])
    assert versions["amflow_mm"] == amflow_mm.__version__
    assert {"python", "mmengine", "mmaction2", "numpy"} <= set(versions)


def test_record_is_json_and_says_what_ran(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/tools/train.py", "x.py", "--seed", "1"])
    record = json.loads(json.dumps(collect_run_record(Config({}, filename=None))))
    assert record["command"] == ["train.py", "x.py", "--seed", "1"]
    assert {"config", "time", "versions", "git_commit", "machine"} == set(record) - {"command"}


def test_json_is_whole_or_not_there(tmp_path):
    path = tmp_path / "a" / "b.json"
    content = {"rows": [[1, 2.5], [-3, 4e-5]], "names": ["a [1, 2]", "b"], "none": None}
    write_json(path, content)
    assert json.loads(path.read_text()) == content
    assert "[1, 2.5],\n" in path.read_text()
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(path, {"x": object()})
    assert json.loads(path.read_text()) == content
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]
