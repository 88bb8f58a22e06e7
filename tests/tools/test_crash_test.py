"""The crash test passes on this project's training, and notices what it is to notice."""

import json
import sys

import pytest
import torch

from amflow_mm.engine.errors import CheckpointError, MissingFileError, UserError
from tests.engine.resumed_runs import EVERY_ITERATION, write_run
from tests.engine.tiny_experiment import ROOT, run_tool

# A checkpoint every other iteration, none but the newest.
SAVING = (
    EVERY_ITERATION
    + """
default_hooks["checkpoint"]["max_keep_ckpts"] = 1
custom_hooks = [dict(type="FiniteLossHook")]
"""
)


@pytest.fixture(scope="module")
def tool():
    sys.path.insert(0, str(ROOT / "tools/misc"))
    try:
        import crash_test
    finally:
        sys.path.remove(str(ROOT / "tools/misc"))
    return crash_test


@pytest.mark.slow
def test_five_kills(tmp_path):
    config = write_run(tmp_path / "experiment", loop="epochs", extra=SAVING)
    done = run_tool(
        "misc/crash_test.py", config, "--out", "out", "--kills", "5", "--cfg-options",
        "train_cfg.max_epochs=5", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["kills"] == len(report["each"]) == 5
    assert report["runs_equal_to_the_uninterrupted_one"] >= 1
    assert all(kill["resumes_from"] >= kill["saved"] for kill in report["each"])
    assert [kill["aim"] for kill in report["each"]] == ["training", "writing"] * 2 + ["training"]
    assert "kills: 5/5, done in" in done.stderr


def test_folder_of_another_test_is_left_alone(tool, tmp_path, monkeypatch, capsys):
    config = write_run(tmp_path / "experiment", loop="epochs", extra=SAVING)
    monkeypatch.setattr("sys.argv", ["crash_test.py", str(config), "--out", str(tmp_path)])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    with pytest.raises(SystemExit, match="2"):
        tool.main()
    assert f"--out {tmp_path} is not empty" in capsys.readouterr().err


@pytest.fixture
def run(tmp_path):
    """A work folder with one checkpoint after four iterations, noted and saved."""
    state = {"meta": {"iter": 4, "epoch": 1}, "state_dict": {}, "optimizer": {}}
    torch.save(state, tmp_path / "iter_4.pth")
    (tmp_path / "last_checkpoint").write_text("iter_4.pth")
    (tmp_path / "heartbeat.txt").write_text("3 3\n4 4\n5 4\n")
    return tmp_path


def test_what_a_kill_has_left_is_recorded(tool, run):
    kill = tool.inspect(run, tool.Kill("writing", 1.0, was_writing=True))
    assert (kill.trained, kill.saved, kill.resumes_from) == (5, 4, 4)


def test_damaged_checkpoint_is_noticed(tool, run):
    path = run / "iter_5.pth"
    path.write_bytes((run / "iter_4.pth").read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"iter_5\.pth cannot be read"):
        tool.inspect(run, tool.Kill("training", 1.0, was_writing=False))


def test_loss_of_a_saved_iteration_is_noticed(tool, run):
    (run / "heartbeat.txt").write_text("5 5\n")
    with pytest.raises(UserError, match="was saved after iteration 5 and would go on from 4"):
        tool.inspect(run, tool.Kill("training", 1.0, was_writing=False))


def test_loss_of_every_checkpoint_is_noticed(tool, run):
    (run / "iter_4.pth").unlink()
    with pytest.raises(MissingFileError, match="nothing to resume"):
        tool.inspect(run, tool.Kill("training", 1.0, was_writing=False))


def test_first_difference_is_named(tool):
    expected = {"a": [torch.zeros(2), 3], "b": {"c": torch.ones(1)}}
    assert tool.find_difference(expected, expected, "x") is None
    other = {"a": [torch.zeros(2), 3], "b": {"c": torch.full((1,), 1 + 2**-23)}}
    assert tool.find_difference(other, expected, "x") == "x.b.c"
    assert tool.find_difference({"a": [torch.zeros(2)]} | {"b": {}}, expected, "x") == "x.a"
    assert tool.find_difference({"a": [0, 3]} | {"b": {}}, expected, "x") == "x.a.0"
