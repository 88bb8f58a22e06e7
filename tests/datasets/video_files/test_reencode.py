import csv
import os
import shutil
from functools import partial
from types import SimpleNamespace

import pytest

from amflow_mm.datasets.video_files import reencode
from amflow_mm.datasets.video_files.encode_options import EncodeOptions
from amflow_mm.datasets.video_files.listing import VideoListError, read_source
from amflow_mm.datasets.video_files.reencode import (
    DiskFullError,
    OutputFolderError,
    do_job,
    plan_jobs,
    reencode_videos,
    write_new_list,
)
from tests.datasets.video_files.sample_videos import write_clips

SMALL = EncodeOptions(short_side=32)
run = partial(reencode_videos, num_processes=2, timeout=60, min_free_bytes=0)


@pytest.fixture
def listed(tmp_path):
    videos = tmp_path / "videos"
    lines = write_clips(videos, 3)
    shutil.move(videos / "class0" / "clip2.mp4", videos / "class0" / "clip2.MKV")
    lines[2] = "class0/clip2.MKV  0 7\r\n"
    (videos / "text.mp4").write_text("no video")
    (tmp_path / "list.txt").write_text("".join([*lines, "text.mp4 1\n"]), newline="")
    return read_source(tmp_path / "list.txt", root=videos, has_many_labels=True)


def targets(videos, folder):
    return [job.target.relative_to(folder).as_posix() for job in plan_jobs(videos, folder, SMALL)]


def test_a_run_and_the_next(tmp_path, listed):
    out = tmp_path / "out"
    (out / "class0").mkdir(parents=True)
    leftover = out / "class0" / f".clip0-{'0' * 32}.part"
    leftover.touch()
    jobs = plan_jobs(listed, out, SMALL)
    done = run(jobs, out)
    assert (done.count("written"), done.count("kept"), done.count("failed")) == (3, 0, 1)
    assert not leftover.exists()
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.mp4")) == [
        "class0/clip0.mp4",
        "class0/clip2.mp4",
        "class1/clip1.mp4",
    ]
    with (out / "failures.csv").open(newline="") as file:
        header, row = csv.reader(file)
    assert header == ["source", "reason"]
    assert row[0] == str(listed.root / "text.mp4")
    assert "cannot be read as a video" in row[1]
    assert write_new_list(listed, done, out, out / "list.txt") == (3, 1)
    assert (out / "list.txt").read_bytes() == (
        b"class0/clip0.mp4 0\nclass1/clip1.mp4 1\nclass0/clip2.mp4  0 7\r\n"
    )
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}

    (listed.root / "text.mp4").unlink()
    shutil.copy(listed.root / "class0" / "clip0.mp4", listed.root / "text.mp4")
    again = run(jobs, out)
    assert (again.count("written"), again.count("kept"), again.count("failed")) == (1, 3, 0)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not (out / "failures.csv").exists()
    sizes = again.num_bytes()
    assert sizes[0] == sum(path.stat().st_size for path in listed.root.rglob("*.*"))
    assert sizes[1] == sum(path.stat().st_size for path in out.rglob("*.mp4"))


@pytest.mark.parametrize("delimiter", [" ", ","])
def test_paths_with_blanks_keep_their_labels(tmp_path, delimiter):
    videos, out = tmp_path / "videos", tmp_path / "out"
    lines = write_clips(videos, 2, name="air 1 drumming/c {index}.mkv", delimiter=delimiter)
    (videos / "text x.mkv").write_text("no video")
    lines = ["\ufeff" + lines[0], f"text x.mkv{delimiter}1\n", lines[1].replace("\n", " \r\n")]
    (tmp_path / "list.txt").write_text("".join(lines), newline="")
    listed = read_source(tmp_path / "list.txt", root=videos, delimiter=delimiter)
    done = run(plan_jobs(listed, out, SMALL), out)
    assert done.count("written") == 2
    assert write_new_list(listed, done, out, out / "list.txt") == (2, 1)
    assert (out / "list.txt").read_bytes().decode() == (
        f"\ufeffair 1 drumming/c 0.mp4{delimiter}0\nair 1 drumming/c 1.mp4{delimiter}1 \r\n"
    )


def test_a_changed_source_or_setting_is_done_again(tmp_path, listed):
    job = plan_jobs(listed, tmp_path / "out", SMALL)[0]
    assert do_job(job).status == "written"
    assert do_job(job).status == "kept"
    os.utime(job.source, ns=(0, 0))
    assert do_job(job).status == "written"
    finer = plan_jobs(listed, tmp_path / "out", EncodeOptions(short_side=32, crf=18))[0]
    assert do_job(finer).status == "written"


def test_foreign_files_are_not_replaced_unless_asked_for(tmp_path, listed):
    job = plan_jobs(listed, tmp_path / "out", SMALL)[0]
    job.target.parent.mkdir(parents=True)
    job.target.write_text("precious")
    result = do_job(job)
    assert result.status == "failed"
    assert "exists and is not of this tool; --overwrite replaces it" in result.reason
    assert job.target.read_text() == "precious"
    (job,) = plan_jobs(listed, tmp_path / "out", SMALL, overwrite=True)[:1]
    assert do_job(job).status == "written"


def test_the_result_of_another_source_is_not_replaced(tmp_path, listed):
    out = tmp_path / "out"
    job = plan_jobs(listed, out, SMALL)[2]
    assert do_job(job).status == "written"
    other = listed.root / "class0" / "clip2.avi"
    shutil.copy(job.source, other)
    (tmp_path / "other.txt").write_text("class0/clip2.avi 0\n")
    (job,) = plan_jobs(read_source(tmp_path / "other.txt", root=listed.root), out, SMALL)
    result = do_job(job)
    assert result.status == "failed"
    assert "clip2.mp4 exists and was made from clip2.MKV" in result.reason


def test_files_that_differ_in_their_suffix_alone_get_different_names(tmp_path):
    for name in ("a.avi", "a.mp4", "b.avi", "b.mkv", "c.webm"):
        (tmp_path / "videos").mkdir(exist_ok=True)
        (tmp_path / "videos" / name).touch()
    names = targets(read_source(tmp_path / "videos"), tmp_path / "out")
    assert names == ["a.avi.mp4", "a.mp4", "b.avi.mp4", "b.mkv.mp4", "c.mp4"]


def test_names_that_still_meet_are_refused(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("a.avi", "a.mp4", "a.avi.mp4"):
        (tmp_path / "videos" / name).touch()
    with pytest.raises(OutputFolderError, match=r"would both become .*a.avi.mp4; rename one"):
        plan_jobs(read_source(tmp_path / "videos"), tmp_path / "out", SMALL)


def test_sources_are_never_overwritten(tmp_path, listed):
    folder = read_source(listed.root)
    (tmp_path / "link").symlink_to(listed.root)
    (tmp_path / "file").touch()
    for videos in (listed, folder):
        with pytest.raises(OutputFolderError, match="is the folder of the videos"):
            plan_jobs(videos, listed.root, SMALL)
        with pytest.raises(OutputFolderError, match="is the folder of the videos"):
            plan_jobs(videos, tmp_path / "link", SMALL)
    with pytest.raises(OutputFolderError, match="is inside the videos to re-encode"):
        plan_jobs(folder, tmp_path / "link" / "out", SMALL)
    with pytest.raises(OutputFolderError, match="is a file; give a folder"):
        plan_jobs(folder, tmp_path / "file", SMALL)


@pytest.mark.parametrize("kind", ["link of a folder", "link of a file", "hard link"])
def test_links_to_sources_are_never_overwritten(tmp_path, listed, kind):
    out = tmp_path / "out"
    out.mkdir()
    source = listed.root / "class1" / "clip1.mp4"
    if kind == "link of a folder":
        (out / "class1").symlink_to(source.parent)
    else:
        (out / "class1").mkdir()
        make = os.link if kind == "hard link" else os.symlink
        make(source, out / "class1" / "clip1.mp4")
    with pytest.raises(OutputFolderError, match=r"clip1.mp4 is one of the videos .* never overwr"):
        plan_jobs(listed, out, SMALL)


def test_absolute_paths_below_the_root_keep_their_relative_place(tmp_path, listed):
    (tmp_path / "absolute.txt").write_text(f"{listed.root}/class1/clip1.mp4 1\n")
    videos = read_source(tmp_path / "absolute.txt", root=listed.root)
    assert targets(videos, tmp_path / "out") == ["class1/clip1.mp4"]
    videos = read_source(tmp_path / "absolute.txt", root=listed.root / "class0")
    with pytest.raises(VideoListError, match=r"is outside .*class0; give a root"):
        plan_jobs(videos, tmp_path / "out", SMALL)


def test_a_full_disk_stops_the_run(tmp_path, listed, monkeypatch):
    jobs = plan_jobs(listed, tmp_path / "out", SMALL)
    with pytest.raises(DiskFullError, match="what is done stays done"):
        run(jobs, tmp_path / "out", min_free_bytes=1 << 62)
    assert not list((tmp_path / "out").rglob("*.mp4"))
    room = iter([2000, 2000, 10])
    monkeypatch.setattr(
        reencode.shutil, "disk_usage", lambda path: SimpleNamespace(free=next(room))
    )
    with pytest.raises(DiskFullError, match=r"out: 0.0 GB are free"):
        run(jobs, tmp_path / "out", min_free_bytes=1000)
