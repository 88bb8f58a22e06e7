import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amflow_mm.datasets.video_writer import write_video
from tests.datasets.video_files.sample_videos import soft_frames, write_clips, write_odd_video

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "data" / "check_videos.py"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    lines = write_clips(tmp_path / "videos", 2)
    (tmp_path / "good.txt").write_text("".join(lines))
    (tmp_path / "videos" / "text.mp4").write_text("no video")
    (tmp_path / "bad.txt").write_text("".join([*lines, "text.mp4 1\n"]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_good_videos(folder, call_tool):
    code, out, _ = call_tool(TOOL, "good.txt", "--root", "videos", "--clean-list", "clean.txt")
    assert code == 0
    assert "2 videos examined, 0 unusable" in out
    assert (folder / "clean.txt").read_bytes() == (folder / "good.txt").read_bytes()
    assert (folder / "work_dirs" / "check_videos" / "report.csv").is_file()


def test_a_bad_video(folder, call_tool):
    arguments = ["bad.txt", "--root", "videos", "--clean-list", "clean.txt", "--out-dir", "out"]
    code, out, errors = call_tool(TOOL, *arguments)
    assert code == 1
    assert out.splitlines()[0].startswith("x videos/text.mp4: unreadable (cannot be read as")
    assert "videos: 3/3, done in" in errors
    assert (folder / "clean.txt").read_bytes() == (folder / "good.txt").read_bytes()
    content = json.loads((folder / "out" / "report.json").read_text())
    assert content["kinds"] == {"unreadable": 1}
    assert call_tool(TOOL, *arguments, "--unusable", "crash")[0] == 0


def test_strict_minds_what_is_only_odd(folder, call_tool):
    write_odd_video(folder / "odd" / "a.mp4", soft_frames(3), rotation=90)
    code, out, _ = call_tool(TOOL, "odd")
    assert code == 0
    assert "rotated                1  no" in out
    assert call_tool(TOOL, "odd", "--strict")[0] == 1


def test_lists_of_a_config(folder, call_tool):
    (folder / "config.py").write_text(
        "prefix = dict(video='videos')\n"
        "train_dataloader = dict(dataset=dict(ann_file='bad.txt', data_prefix=prefix))\n"
        "val_dataloader = dict(dataset=dict(ann_file='good.txt', data_prefix=prefix))\n"
    )
    code, out, _ = call_tool(TOOL, "--config", "config.py", "--clean-list", "clean")
    assert code == 1
    assert "3 videos examined, 1 unusable" in out
    assert (folder / "clean" / "bad.txt").read_text() == (folder / "good.txt").read_text()
    assert (folder / "clean" / "good.txt").read_text() == (folder / "good.txt").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.txt"], "error: nowhere.txt does not exist"),
        ([], "give either a list or folder, or --config"),
        (["good.txt", "--config", "x.py"], "give either a list or folder, or --config"),
        (["--config", "missing.py"], "error: config missing.py does not exist"),
        (["good.txt", "--sample", "1.5"], "'1.5' is neither a number of videos nor a part"),
        (["good.txt", "--sample", "0"], "'0' is neither a number of videos nor a part"),
        (["good.txt", "--processes", "0"], "'0' must be a whole number >= 1"),
        (["good.txt", "--timeout", "0"], "--timeout 0.0 must be > 0"),
        (["good.txt", "--unusable", "ugly"], "invalid choice: 'ugly'"),
    ],
)
def test_a_wrong_command_line_is_told_without_a_traceback(folder, call_tool, arguments, message):
    code, out, errors = call_tool(TOOL, *arguments)
    assert code == 2
    assert out == ""
    assert message in errors
    assert "Traceback" not in errors


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    write_video(tmp_path / "videos" / "0.mp4", soft_frames(250, 128, 128), 25)
    for number in range(1, 40):
        os.link(tmp_path / "videos" / "0.mp4", tmp_path / "videos" / f"{number}.mp4")
    command = [sys.executable, TOOL, "videos", "--processes", "1", "--out-dir", "out"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    journal = tmp_path / "out" / "journal.jsonl"
    deadline = time.monotonic() + 120
    while not journal.exists() or journal.read_bytes().count(b"\n") < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    num_before = journal.read_bytes().count(b"\n")
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 3 <= num_before < 40
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len(entries) == len({entry["key"] for entry in entries}) == 40
    assert "40 videos examined, 0 unusable" in done.stdout
    assert "videos: 40/40" in done.stderr
