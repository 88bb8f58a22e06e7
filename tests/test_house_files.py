"""Files at the top of the repository that no other test reads."""

import subprocess
from pathlib import Path

import yaml

from amflow_mm import __version__

ROOT = Path(__file__).parents[1]


def test_make_golden_rewrites_arrays_and_keys():
    printed = subprocess.run(
        ["make", "--dry-run", "golden"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for module in ("golden_cases", "key_contracts"):
        assert (ROOT / "tests" / f"{module}.py").is_file()
        assert f"python -m tests.{module}\n" in printed


def test_commit_hooks_need_no_repository_of_hooks():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert {source["repo"] for source in config["repos"]} == {"local"}
    for hook in (hook for source in config["repos"] for hook in source["hooks"]):
        if hook["language"] == "python":
            assert all("==" in requirement for requirement in hook["additional_dependencies"])
        else:
            assert hook["entry"].startswith(".venv/bin/")


def test_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == __version__
    assert citation["title"].startswith("amflow_mm")
