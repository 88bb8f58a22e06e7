"""bench_pipeline.py: the record, and the tables and pictures that are made of it."""

import functools
import json

import pytest

from amflow_mm.apis.pipeline_benchmark import VideoShape, generate_videos
from tests.apis.pipeline_benchmark.recorded_run import recorded_run
from tests.engine.tiny_experiment import ROOT

TOOL = ROOT / "tools/analysis/bench_pipeline.py"
PAGE = "before\n<!-- results:begin -->\nold\n<!-- results:end -->\nafter\n"
TINY = ["--videos", 2, "--gops", 5, "--video-seconds", 0.5, "--seconds", 0, "--repetitions", 2]


@pytest.fixture
def call(call_tool):
    """Run the tool in this process; returns its exit code, output and errors."""
    return functools.partial(call_tool, TOOL)


@pytest.fixture
def recorded(tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(recorded_run()))
    return path


@pytest.mark.slow
def test_run_is_printed_recorded_and_drawn(call, tmp_path):
    work, record, chart = tmp_path / "work", tmp_path / "run.json", tmp_path / "speed.png"
    options = ["--workers", 1, "--batch-size", 2, "--prepared", "cache-jpeg", "--work-dir", work]
    code, out, err = call(*TINY, *options, "--json", record, "--chart", chart)
    assert code == 0, err
    run = json.loads(record.read_text())
    subjects = ["MMAction2, decord", "ours, auto", "ours, clip cache, jpeg"]
    for subject in subjects:
        assert f"\n{subject} " in out
    assert set(run["videos"]) == {"GOP 5"}
    assert list(run["agreement"]["GOP 5"]) == subjects
    measured = [(m["subject"], m["mode"], m["repetition"]) for m in run["measurements"]]
    assert len(measured) == len(set(measured)) == len(subjects) * 3 * 2
    assert {"python", "torch", "decord", "av"} <= set(run["versions"])
    assert run["machine"]["processor"]
    assert run["options"]["num_workers"] == 1
    assert chart.stat().st_size > 1000


@pytest.mark.slow
def test_users_list_is_measured_in_place_of_generated_videos(call, tmp_path):
    shape = VideoShape(gop_size=5, seconds=0.5, height=48, width=64)
    videos = generate_videos(tmp_path, shape, count=2)
    listed, record = tmp_path / "mine.txt", tmp_path / "run.json"
    listed.write_text("".join(f"{video.name} 0\n" for video in videos))
    options = ["--seconds", 0, "--repetitions", 1, "--workers", 1, "--cold", "--prepared"]
    places = ["--list", listed, "--root", videos[0].parent, "--work-dir", tmp_path / "work"]
    code, out, _ = call(*options, *places, "--json", record)
    assert code == 0
    assert out.startswith("mine: 2 videos such as 64 x 48, 15 frames")
    modes = {measured["mode"] for measured in json.loads(record.read_text())["measurements"]}
    assert modes - {"cold"} == {"process", "loader", "transport"}  # some disks cannot be cold


def test_recorded_run_is_printed_without_measuring(call, recorded):
    code, out, _ = call("--from", recorded)
    assert code == 0
    assert "3.00 (2.00-4.00)" in out


def test_document_is_rewritten_and_checked(call, recorded, tmp_path):
    page = tmp_path / "speed.md"
    page.write_text(PAGE)
    files = ["--json", tmp_path / "copy.json", "--chart", tmp_path / "images" / "chart.png"]
    code, _, _ = call("--from", recorded, "--document", page, *files)
    assert code == 0
    assert "| ours, auto | 30.0 (20.0-40.0) |" in page.read_text()
    assert (tmp_path / "images" / "chart.png").exists()
    assert call("--document", page, *files, "--check")[0] == 0
    page.write_text(page.read_text().replace("30.0", "99.0"))
    code, _, _ = call("--document", page, *files, "--check")
    assert "is outdated" in code


def test_page_shows_what_is_recorded(call):
    assert call("--document", ROOT / "docs/data_speed.md", "--check")[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--videos", 0], "--videos 0 must be at least 1"),
        (["--gops", 0], "gop_size=0"),
        (["--backends", "gpu"], r"backends=('gpu',) must be of auto"),
        (["--repetitions", 0], "repetitions=0 must be >= 1"),
        (["--list", "none.txt"], "none.txt: there is no such annotation list"),
        (["--check"], "--check needs --document"),
    ],
)
def test_wrong_options_end_in_one_line(call, tmp_path, options, message):
    code, _, err = call("--work-dir", tmp_path, *options)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
