"""profile.py: tables, trace and record; and no obstacle to the module of the same name."""

import functools
import gzip
import json
import subprocess
import sys

import pytest

from tests.engine.tiny_experiment import ROOT

TOOL = ROOT / "tools/analysis/profile.py"
CONFIG = ROOT / "configs/amflow_vits_motion.py"


@pytest.fixture
def call(call_tool):
    """Run the tool in this process; returns its exit code, output and errors."""
    return functools.partial(call_tool, TOOL)


@pytest.mark.slow
def test_steps_of_a_config_are_profiled(call, tmp_path):
    page = tmp_path / "speed.md"
    page.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    trace = tmp_path / "trace.json.gz"
    size = ["--shape", 2, 28, 28, "--batch-size", 1, "--steps", 1, "--warm-up", 0]
    code, out, err = call(CONFIG, *size, "--trace", trace, "--document", page)
    assert code == 0, err
    record = json.loads((tmp_path / "results/speed/profile_amflow_vits_motion.json").read_text())
    assert record["config"] == "amflow_vits_motion.py"
    assert {row["part"] for row in record["parts"]} >= {"attention", "MLP", "AM flow", "adapters"}
    assert "### profile amflow vits motion" in page.read_text()
    assert "AM flow" in out
    with gzip.open(trace, "rt") as file:
        assert json.load(file)["traceEvents"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", 0], "steps=0 must be >= 1"),
        (["--cfg-options", "model.backbone.depht=3"], "depht"),
    ],
)
def test_wrong_options_end_in_one_line(call, options, message):
    code, _, err = call(CONFIG, *options)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_tools_beside_it_find_pythons_own_profile():
    """The folder of a tool is the first place where modules are looked for."""
    code = "import cProfile, profile; print(profile.__file__); cProfile.run('1 + 1')"
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=TOOL.parent
    )
    assert finished.returncode == 0, finished.stderr
    assert str(ROOT) not in finished.stdout
    assert "function calls" in finished.stdout
