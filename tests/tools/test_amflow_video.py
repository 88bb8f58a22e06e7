import os
import runpy
import subprocess
import sys
from pathlib import Path

import av
import cv2
import pytest

from amflow_mm.datasets.video_writer import write_video
from tests.apis.square_video import FPS, NUM_FRAMES, TINY_CONFIG, square_frames

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "visualization" / "amflow_video.py"


def run_process(*arguments, cwd):
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a video and a config."""
    write_video(tmp_path / "square.mp4", square_frames(), FPS)
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "tiny.py").write_text(TINY_CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_prints_the_paths_of_an_overlay_video_and_a_contact_sheet(folder):
    options = ["--config", "tiny.py", "--out-dir", "out", "--size", 70, "--stride", 2]
    done = run_process("square.mp4", *options, "--layers", 0, 1, "--device", "cpu", cwd=folder)
    assert done.returncode == 0, done.stderr
    overlay, sheet = done.stdout.splitlines()
    with av.open(str(folder / overlay)) as container:
        assert container.streams.video[0].frames == NUM_FRAMES
        assert container.streams.video[0].average_rate == FPS
    assert cv2.imread(str(folder / sheet)).shape[1] > 1000
    assert "overlay, frames: 13/13" in done.stderr


@pytest.mark.slow
def test_a_missing_video_is_one_line_and_exit_code_2(folder):
    done = run_process("missing.mp4", cwd=folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "error: missing.mp4: there is no such video file"


@pytest.fixture
def run(monkeypatch, folder):
    """Run the tool in this process, which spares the imports."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", [str(TOOL), *arguments])
        runpy.run_path(str(TOOL), run_name="__main__")

    return call


def test_first_frames_only_into_the_default_folder(folder, run):
    run("square.mp4", "--config", "tiny.py", "--num-frames", "4", "--size", "70")
    with av.open(str(folder / "work_dirs" / "amflow_video" / "square_amflow.mp4")) as container:
        assert container.streams.video[0].frames == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["text.mp4"], "text.mp4: cannot be read as a video"),
        (["square.mp4", "--layers", "3"], "layers=[3] must be blocks from 0 to 2"),
        (["square.mp4", "--device", "nonsense"], "--device nonsense: "),
        (["square.mp4", "--config", "no_weights.py"], "model.backbone.pretrained: "),
        (["square.mp4", "--config", "misspelt.py"], "model.neck.temperatur"),
        (["square.mp4", "--config", "missing.py"], "missing.py does not exist"),
    ],
)
def test_what_the_user_can_put_right_is_told_without_a_traceback(
    folder, run, capsys, arguments, message
):
    backbone = 'family="dinov2",'
    (folder / "no_weights.py").write_text(
        TINY_CONFIG.replace(backbone, backbone + ' pretrained="nowhere.pth",')
    )
    (folder / "misspelt.py").write_text(TINY_CONFIG.replace("normalize=", "temperatur="))
    if "--config" not in arguments:
        arguments = [*arguments, "--config", "tiny.py"]
    with pytest.raises(SystemExit, match="2"):
        run(*arguments)
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert message in told.err
    assert not (folder / "work_dirs").exists()


def test_default_config_is_the_quick_start():
    tool = runpy.run_path(str(TOOL))
    assert tool["DEFAULT_CONFIG"] == ROOT / "configs" / "amflow_vits_motion.py"
    assert tool["DEFAULT_CONFIG"].is_file()
