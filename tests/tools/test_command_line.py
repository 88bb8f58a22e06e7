"""What tools share of their command lines, and that reading them takes nothing but Python."""

import argparse
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"
QUICK = ("train", "test", "print_config", "demo")

SHARED = runpy.run_path(str(TOOLS / "command_line.py"))


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    SHARED["add_config_arguments"](parser)
    SHARED["add_run_arguments"](parser)
    return parser


def test_arguments_are_those_of_mmaction2():
    command = "x.py --cfg-options a.b=1 c=[1,2] --work-dir w --launcher pytorch --local-rank 3"
    args = make_parser().parse_args(command.split())
    assert args.cfg_options == {"a.b": 1, "c": [1, 2]}
    assert (args.work_dir, args.launcher, args.local_rank) == ("w", "pytorch", 3)
    assert make_parser().parse_args(["x.py", "--local_rank=2"]).local_rank == 2


def test_options_may_be_left_out_and_add_up():
    assert make_parser().parse_args(["x.py"]).cfg_options is None
    command = "x.py --cfg-options a=1 --cfg-options b=2"
    assert make_parser().parse_args(command.split()).cfg_options == {"a": 1, "b": 2}


@pytest.mark.parametrize("tool", QUICK)
def test_help_is_complete_and_imports_none_of_the_heavy_packages(tool):
    command = [sys.executable, "-X", "importtime", str(TOOLS / f"{tool}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert imported.isdisjoint({"amflow_mm", "mmaction", "mmengine", "numpy", "torch"})
    expected = {"--out-dir", "--seed"} if tool == "demo" else {"config", "--cfg-options"}
    if tool in ("train", "test"):
        expected |= {"--work-dir", "--launcher", "--local-rank", "--dry-run"}
    assert not [argument for argument in expected if argument not in done.stdout]


def test_a_misspelt_flag_is_told_before_anything_is_imported():
    command = [sys.executable, "-X", "importtime", str(TOOLS / "train.py"), "x.py", "--ampp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unrecognized arguments: --ampp" in done.stderr
    assert " torch\n" not in done.stderr


def test_a_tool_finds_its_siblings_when_run_as_a_module(tmp_path):
    package = tmp_path / "installed"
    package.mkdir()
    (package / "tools").symlink_to(TOOLS, target_is_directory=True)
    done = subprocess.run(
        [sys.executable, "-m", "installed.tools.print_config", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--save-path" in done.stdout
