import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "misc" / "update_results.py"
README = "before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n"


def run(*arguments):
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def make_report(*, top1=0.9375, seed=0, trainable=12345, **extra):
    row = {"title": "AM flow", "config": "one", "trainable": trainable, "seconds": 61.4}
    rows = [row | {"top1": top1}, row | {"title": "w = 1", "config": "two", "top1": 0.125}]
    machine = {"system": "Linux", "cpus": 2, "threads": 1, "gpus": []}
    versions = {"python": "3.11.7", "torch": "2.13.0"}
    return {"rows": rows, "seed": seed, "machine": machine, "versions": versions, **extra}


@pytest.fixture
def update(tmp_path):
    """Run the tool on a document and the given reports; returns the run and the document."""
    readme, results = tmp_path / "README.md", tmp_path / "results"
    results.mkdir()

    def run_on(reports, *options, text=README):
        readme.write_text(text)
        for name, report in reports.items():
            (results / name).write_text(json.dumps(report))
        done = run("--readme", readme, "--results", results, *options)
        return done, readme.read_text()

    return run_on


def test_readme_shows_what_is_recorded():
    done = run("--check")
    assert done.returncode == 0, done.stderr


def test_no_report_is_said_and_the_rest_stays(update):
    done, text = update({})
    assert done.returncode == 0, done.stderr
    assert text == README.replace("old\n", "\nNo results recorded yet.\n\n")


def test_table_holds_the_figures_seed_machine_and_versions(update):
    _, text = update({"demo.json": make_report(title="Eight motions")})
    assert text.splitlines()[3:12] == [
        "**Eight motions**",
        "",
        "| model | top-1, % | trained parameters | seconds |",
        "|---|---|---|---|",
        "| [AM flow](configs/one.py) | 93.8 | 12,345 | 61 |",
        "| [w = 1](configs/two.py) | 12.5 | 12,345 | 61 |",
        "",
        "Seed 0. 2 CPUs, no GPU; python 3.11.7, torch 2.13.0. Full record: "
        "[demo.json](docs/results/demo.json).",
        "",
    ]


def test_seeds_become_mean_and_standard_deviation(update):
    reports = {
        f"demo_seed{seed}.json": make_report(top1=top1, seed=seed)
        for seed, top1 in enumerate((0.90, 0.92, 0.97))
    }
    _, text = update(reports)
    assert "**demo**" in text
    assert "| 93.0 ± 3.6 |" in text  # deviations 3, 1, 4: the root of 26 / 2
    assert "Seeds 0, 1, 2; mean ± standard deviation. 2 CPUs" in text


def test_check_finds_a_changed_figure_and_changes_nothing(update):
    _, text = update({"demo.json": make_report()})
    done, same = update({"demo.json": make_report()}, "--check", text=text)
    assert (done.returncode, same) == (0, text)
    done, same = update({"demo.json": make_report(top1=0.5)}, "--check", text=text)
    assert (done.returncode, same) == (1, text)
    assert "is outdated" in done.stderr


@pytest.mark.parametrize(
    "second",
    [make_report(seed=0), make_report(seed=1, trainable=1)],
    ids=["same seed", "another model"],
)
def test_unlike_reports_are_not_averaged(update, second):
    done, text = update({"a_seed0.json": make_report(), "a_seed1.json": second})
    assert (done.returncode, text) == (1, README)
    assert "a_seed0.json, a_seed1.json differ in more than their seeds" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "text",
    ["no markers", "<!-- results:begin -->\n", README + README],
    ids=["none", "half", "twice"],
)
def test_markers_must_be_there_once(update, text):
    done, after = update({}, text=text)
    assert (done.returncode, after) == (1, text)
    assert "must hold a line <!-- results:begin --> and a line" in done.stderr
