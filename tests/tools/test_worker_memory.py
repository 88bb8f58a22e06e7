"""worker_memory.py: table, record, picture and exit status."""

import functools
import json
import os

import pytest

from tests.engine.tiny_experiment import ROOT

TOOL = ROOT / "tools/misc/worker_memory.py"
TINY = ["--videos", 2, "--clips", 60, "--warm-up", 10, "--every", 10, "--batch-size", 2]
TINY += ["--window", 10]

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/smaps_rollup"), reason="memory of processes is read on Linux"
)


@pytest.fixture
def call(call_tool, tmp_path):
    """Run the tool in this process; returns its exit code, output and errors."""
    return functools.partial(call_tool, TOOL, "--work-dir", tmp_path / "work")


@pytest.mark.slow
def test_samples_are_printed_recorded_and_drawn(call, tmp_path):
    record, plot = tmp_path / "memory.json", tmp_path / "plots" / "memory.png"
    code, out, _ = call(*TINY, "--limit", 1e9, "--json", record, "--plot", plot)
    assert code == 0
    assert "worker 0, MiB" in out
    assert "KiB for each 1000 clips of a worker after 10 clips" in out
    written = json.loads(record.read_text())
    assert written["subject"] == "ours, auto"
    assert len(written["samples"]) == 2 * 5
    assert all(0 < sample["own"] <= sample["resident"] for sample in written["samples"])
    assert plot.stat().st_size > 1000


@pytest.mark.slow
def test_growth_above_the_limit_fails(call):
    code, _, err = call(*TINY, "--pipeline", "cache-jpeg", "--limit", -1e9)
    assert code == 1
    assert "memory certainly grows by more than --limit -1e+09" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--clips", 10, "--every", 10], "--clips must exceed --every"),
        (["--workers", 0], "--workers must be at least 1"),
        (["--list", "none.txt"], "none.txt: there is no such annotation list"),
        (["--backend", "gpu", "--list", TOOL], "there is no such file"),
    ],
)
def test_wrong_options_end_in_one_line(call, options, message):
    code, _, err = call(*options)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
