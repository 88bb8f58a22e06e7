import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from amflow_mm.datasets.video_writer import write_video
from tests.datasets.video_files.sample_videos import soft_frames, write_clips

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "data" / "reencode.py"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    lines = write_clips(tmp_path / "videos", 2)
    (tmp_path / "good.txt").write_text("".join(lines))
    (tmp_path / "videos" / "text.mp4").write_text("no video")
    (tmp_path / "bad.txt").write_text("".join([*lines, "text.mp4 1\n"]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_list(folder, call_tool):
    arguments = ["good.txt", "out", "--root", "videos", "--short-side", 32, "--gop", 2]
    arguments += ["--min-free-gb", 0]
    code, out, errors = call_tool(TOOL, *arguments)
    assert code == 0
    assert "out: 2 videos written, 0 were there, 0 failed" in out
    assert "list: out/good.txt (2 lines, 0 left out)" in out
    assert "re-encoded videos: 2/2, done in" in errors
    assert (folder / "out" / "good.txt").read_text() == (folder / "good.txt").read_text()
    with av.open("out/class0/clip0.mp4") as container:
        frames = list(container.decode(video=0))
    assert [frame.height for frame in frames] == [32] * 4
    assert frames[2].key_frame
    assert "0 videos written, 2 were there" in call_tool(TOOL, *arguments)[1]


def test_failing_files_are_listed_and_left_out(folder, call_tool):
    arguments = ["bad.txt", "out", "--root", "videos", "--new-list", "new.txt", "--min-free-gb", 0]
    code, out, _ = call_tool(TOOL, *arguments)
    assert code == 1
    assert out.splitlines()[0].startswith("videos/text.mp4: cannot be read as a video")
    assert "failures: out/failures.csv" in out
    assert "list: new.txt (2 lines, 1 left out)" in out
    assert (folder / "new.txt").read_text() == (folder / "good.txt").read_text()


def test_a_folder_needs_no_list(folder, call_tool):
    (folder / "videos" / "text.mp4").unlink()
    code, out, _ = call_tool(TOOL, "videos", "out", "--min-free-gb", 0)
    assert code == 0
    assert "list:" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "out"], "error: nowhere does not exist"),
        (["videos", "videos"], "error: videos is the folder of the videos to re-encode"),
        (["videos", "out", "--crf", "60"], "error: crf=60 must be within 0 ... 51"),
        (["videos", "out", "--processes", "0"], "error: --processes must be at least 1"),
        (["videos", "out", "--min-free-gb", "1e9"], "GB to be left; make room"),
        (["good.txt", "out", "--root", "videos", "--new-list", "good.txt"], "is the list that was"),
    ],
)
def test_what_the_user_can_put_right_is_one_line(folder, call_tool, arguments, message):
    if "--min-free-gb" not in arguments:
        arguments = [*arguments, "--min-free-gb", "0"]
    code, out, errors = call_tool(TOOL, *arguments)
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors
    assert not list(folder.glob("out/**/*.mp4"))


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    write_video(tmp_path / "videos" / "0.mp4", soft_frames(120, 128, 128), 25)
    for number in range(1, 20):
        os.link(tmp_path / "videos" / "0.mp4", tmp_path / "videos" / f"{number}.mp4")
    command = [sys.executable, TOOL, "videos", "out", "--processes", "2", "--min-free-gb", "0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("out/*.mp4"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/*.mp4")}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert 3 <= len(before) < 20
    assert {path: path.stat().st_mtime_ns for path in before} == before
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{number}.mp4" for number in range(20)} | {".reencode.lock"}
    for path in tmp_path.glob("out/*.mp4"):
        with av.open(str(path)) as container:
            assert sum(1 for _ in container.decode(video=0)) == 120
