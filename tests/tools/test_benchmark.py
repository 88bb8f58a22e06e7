"""benchmark.py: the record, and the tables and pictures that are made of it."""

import functools
import json

import pytest

from tests.apis.model_benchmark.tiny import recorded_run
from tests.engine.tiny_experiment import ROOT

TOOL = ROOT / "tools/analysis/benchmark.py"
PAGE = "before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n"


@pytest.fixture
def call(call_tool):
    """Run the tool in this process; returns its exit code, output and errors."""
    return functools.partial(call_tool, TOOL)


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "docs" / "speed.md"
    path.parent.mkdir()
    path.write_text(PAGE)
    return path


@pytest.mark.slow
def test_run_is_printed_recorded_drawn_and_documented(call, page):
    size = ["--variant", "ti16", "--resolution", 32, "--frames", 2, 4, "--repetitions", 1]
    chosen = ["--models", "AM Flow in_block, TCN", "AIM", "--no-components", "--device", "cpu"]
    where = ["--document", page, "--name", "tiny", "--preliminary"]
    code, out, err = call(*size, *chosen, *where)
    assert code == 0, err
    assert "training step, in_block / AIM" in out
    run = json.loads((page.parent / "results/speed/tiny.json").read_text())
    assert [case["frames"] for case in run["cases"]] == [2, 4]
    assert run["options"]["variant"] == "ti16"
    assert (page.parent / "images/speed_tiny.png").stat().st_size > 1000
    assert "**Preliminary: the machine was not idle.**" in page.read_text()
    assert call("--document", page, "--check")[0] == 0


def test_recorded_run_is_written_and_checked(call, page, tmp_path):
    recorded = tmp_path / "cpu.json"
    recorded.write_text(json.dumps(recorded_run()))
    code, out, _ = call("--from", recorded, "--document", page)
    assert code == 0
    assert "training step, in_block / AIM" in out
    assert "| training step, in_block / AIM | ≤ 0.60 | 0.500 | yes |" in page.read_text()
    assert call("--document", page, "--check")[0] == 0
    page.write_text(page.read_text().replace("0.500", "0.100"))
    assert "is outdated" in call("--document", page, "--check")[0]


def test_page_shows_what_is_recorded(call):
    assert call("--document", ROOT / "docs/performance.md", "--check")[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--variant", "z3"], "variant='z3' must be one of"),
        (["--models", "GPT"], "models=['GPT'] must be of frozen ViT"),
        (["--frames", 1], "frames=1 must be >= 2"),
        (["--batch", 0], "batch_size=0 must be >= 1"),
        (["--repetitions", 0], "repetitions=0 must be >= 1"),
        (["--check"], "--check needs --document"),
    ],
)
def test_wrong_options_end_in_one_line(call, options, message):
    code, _, err = call(*options)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
