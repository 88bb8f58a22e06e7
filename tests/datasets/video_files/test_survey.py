import json
import os
from functools import partial

import pytest

from amflow_mm.datasets.video_files import survey as survey_module
from amflow_mm.datasets.video_files.examine import FileReport, examine_video
from amflow_mm.datasets.video_files.listing import VideoList, read_source
from amflow_mm.datasets.video_files.parallel import ItemError, Outcome
from amflow_mm.datasets.video_files.survey import Survey, survey_videos, write_clean_lists
from amflow_mm.datasets.video_files.survey_report import format_survey, write_reports
from tests.datasets.video_files.sample_videos import write_clips

survey_two = partial(survey_videos, num_processes=2, timeout=60)


@pytest.fixture
def listed(tmp_path):
    """Five good clips and four lines that lead to no clip, one of them twice."""
    videos = tmp_path / "videos"
    lines = write_clips(videos, 5)
    (videos / "text.mp4").write_text("no video")
    (videos / "empty.mp4").touch()
    lines[2:2] = ["text.mp4 1\r\n", "nowhere.mp4   0\n", "text.mp4 1\n"]
    lines.append("empty.mp4 0")
    (tmp_path / "list.txt").write_text("".join(lines), newline="")
    return read_source(tmp_path / "list.txt", root=videos)


@pytest.fixture
def examined(monkeypatch):
    """Run in this process; the fixture is the list of the files that were examined."""
    examined = []

    def run(function, items, **options):
        for item in items:
            examined.append(os.path.basename(item))
            if "crash" in item:
                yield item, Outcome(error=ItemError("crash", "the process was ended by SIGSEGV"))
            elif "slow" in item:
                yield item, Outcome(error=ItemError("timeout", "took longer than 60 s"))
            elif "strange" in item:
                yield item, Outcome(error=ItemError("error", "KeyError: 'x'"))
            else:
                yield item, Outcome(value=function(item))

    monkeypatch.setattr(survey_module, "run_isolated", run)
    return examined


def test_each_file_is_examined_once_in_child_processes(tmp_path, listed):
    survey = survey_two([listed], tmp_path / "out")
    kinds = {os.path.basename(path): report.kinds for path, report in survey.reports.items()}
    assert kinds == {
        "clip0.mp4": (),
        "clip1.mp4": (),
        "text.mp4": ("unreadable",),
        "nowhere.mp4": ("missing",),
        "clip2.mp4": (),
        "clip3.mp4": (),
        "clip4.mp4": (),
        "empty.mp4": ("unreadable",),
    }
    assert list(kinds)[:4] == ["clip0.mp4", "clip1.mp4", "text.mp4", "nowhere.mp4"]
    assert survey.count_kinds() == {"unreadable": 2, "missing": 1}


def test_clean_list_keeps_lines_to_the_byte(tmp_path, listed, examined):
    survey = survey_two([listed], tmp_path / "out")
    (path,) = write_clean_lists(survey, tmp_path / "new" / "clean.txt")
    lines = (tmp_path / "list.txt").read_bytes().splitlines(keepends=True)
    assert path.read_bytes() == b"".join(line for line in lines if b"clip" in line)


@pytest.mark.parametrize("delimiter", [" ", ","])
def test_paths_with_blanks(tmp_path, examined, delimiter):
    videos = tmp_path / "videos"
    good = write_clips(videos, 2, name="air drumming/c {index}.mp4", delimiter=delimiter)
    (videos / "text x.mp4").write_text("no video")
    lines = [good[0], f"text x.mp4{delimiter}1\r\n", good[1], f"no where.mp4{delimiter}0"]
    (tmp_path / "list.txt").write_text("".join(lines), newline="")
    listed = read_source(tmp_path / "list.txt", root=videos, delimiter=delimiter)
    survey = survey_two([listed], tmp_path / "out")
    assert {os.path.relpath(path, videos): r.kinds for path, r in survey.reports.items()} == {
        "air drumming/c 0.mp4": (),
        "text x.mp4": ("unreadable",),
        "air drumming/c 1.mp4": (),
        "no where.mp4": ("missing",),
    }
    (path,) = write_clean_lists(survey, tmp_path / "clean.txt")
    assert path.read_text() == "".join(good)


def test_clean_list_of_a_folder_is_read_again(tmp_path, examined):
    videos = tmp_path / "videos"
    write_clips(videos, 2, name="air drumming/c {index}.mp4")
    survey = survey_two([read_source(videos)], tmp_path / "out")
    (path,) = write_clean_lists(survey, tmp_path / "clean.txt")
    again = read_source(path, root=videos)
    assert [video.path for video in again.videos] == [
        video.path for video in read_source(videos).videos
    ]


def test_clean_list_of_a_folder_names_files_relative_to_it(tmp_path, listed, examined):
    survey = survey_two([read_source(listed.root)], tmp_path / "out")
    (path,) = write_clean_lists(survey, tmp_path / "clean.txt")
    assert path.read_text().splitlines() == [
        "class0/clip0.mp4",
        "class0/clip2.mp4",
        "class0/clip4.mp4",
        "class1/clip1.mp4",
        "class1/clip3.mp4",
    ]


def test_several_lists_are_written_into_a_folder(tmp_path, listed, examined):
    for name in ("x/val.txt", "y/val.txt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("class0/clip0.mp4 0\ntext.mp4 1\n")
    lists = [listed] + [
        read_source(tmp_path / name, root=listed.root) for name in ("x/val.txt", "y/val.txt")
    ]
    survey = survey_two(lists, tmp_path / "out")
    assert examined.count("clip0.mp4") == 1
    paths = write_clean_lists(survey, tmp_path / "clean")
    assert [path.name for path in paths] == ["list.txt", "x_val.txt", "y_val.txt"]
    assert paths[1].read_text() == "class0/clip0.mp4 0\n"


def test_kinds_that_make_unusable_can_be_chosen(tmp_path, listed, examined):
    survey = survey_two([listed], tmp_path / "out", unusable_kinds=["missing"])
    assert [os.path.basename(report.path) for report in survey.unusable()] == ["nowhere.mp4"]
    assert len(survey.keep(listed)) == 8


def test_a_second_run_examines_only_what_has_changed_or_is_missing(tmp_path, listed, examined):
    first = survey_two([listed], tmp_path / "out")
    changed = listed.root / "class0" / "clip2.mp4"
    changed.write_bytes(changed.read_bytes() + b"more")
    examined.clear()
    again = survey_two([listed], tmp_path / "out")
    assert sorted(examined) == ["clip2.mp4", "nowhere.mp4"]
    assert list(again.reports) == list(first.reports)
    key = str(changed)
    assert again.reports[key].num_bytes == first.reports[key].num_bytes + 4
    assert {k: v for k, v in again.reports.items() if k != key} == {
        k: v for k, v in first.reports.items() if k != key
    }
    examined.clear()
    survey_two([listed], tmp_path / "out", restart=True)
    assert len(examined) == 8


def test_what_became_of_the_process_is_reported_and_tried_again(tmp_path, examined):
    for name in ("crash.mp4", "slow.mp4", "strange.mp4"):
        (tmp_path / "videos" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "videos" / name).write_text("some")
    videos = read_source(tmp_path / "videos")
    for _ in range(2):
        survey = survey_two([videos], tmp_path / "out")
        assert {os.path.basename(r.path): (r.kinds, r.detail) for r in survey.unusable()} == {
            "crash.mp4": (("crash",), "the process was ended by SIGSEGV"),
            "slow.mp4": (("timeout",), "took longer than 60 s"),
            "strange.mp4": (("unreadable",), "KeyError: 'x'"),
        }
    assert len(examined) == 6


@pytest.mark.parametrize(("sample", "count"), [(3, 3), (0.5, 4), (0.01, 1), (99, 8), (1.0, 8)])
def test_a_sample_is_seeded(tmp_path, listed, examined, sample, count):
    first = survey_two([listed], tmp_path / "out", sample=sample, seed=4, restart=True)
    again = survey_two([listed], tmp_path / "out", sample=sample, seed=4, restart=True)
    assert len(first.reports) == count
    assert list(first.reports) == list(again.reports)
    if count == 3:
        other = survey_two([listed], tmp_path / "out", sample=sample, seed=5)
        assert list(other.reports) != list(first.reports)
    # What was not looked at stays in the list.
    assert len(first.keep(listed)) == len(listed.videos) - sum(
        str(video.path) in {report.path for report in first.unusable()} for video in listed.videos
    )


def test_an_impossible_sample_is_refused(tmp_path, listed):
    with pytest.raises(ValueError, match="sample=0 must be > 0"):
        survey_two([listed], tmp_path / "out", sample=0)


def test_reports_hold_every_file(tmp_path, listed, examined):
    survey = survey_two([listed], tmp_path / "out")
    table, data = write_reports(survey, tmp_path / "out")
    lines = table.read_text().splitlines()
    assert len(lines) == 9
    assert lines[0].startswith("usable,path,kinds,detail,num_frames,")
    assert lines[1].startswith(f"True,{listed.videos[0].path},,,4,4,0,25.0,64,48,0,4,0.16,h264,")
    content = json.loads(data.read_text())
    assert content["num_files"] == 8
    assert content["num_unusable"] == 3
    assert content["kinds"] == {"unreadable": 2, "missing": 1}
    assert content["files"][0]["num_frames"] == examine_video(str(listed.videos[0].path)).num_frames


def make_survey(reports):
    return Survey((VideoList("list.txt", ".", ()),), {r.path: r for r in reports})


def test_table_names_unusable_files_first_and_counts_kinds():
    text = format_survey(
        make_survey(
            [
                FileReport("a.mp4"),
                FileReport("b.mp4", ("rotated",), "players turn it"),
                FileReport("c.mp4", ("unreadable", "truncated"), "no index"),
            ]
        )
    )
    assert text.splitlines() == [
        "x c.mp4: unreadable, truncated (no index)",
        "  b.mp4: rotated (players turn it)",
        "",
        "kind               files  unusable",
        "unreadable             1  yes",
        "truncated              1  no",
        "rotated                1  no",
        "",
        "3 videos examined, 1 unusable",
    ]


def test_a_long_table_is_cut():
    text = format_survey(make_survey([FileReport(f"{n}.mp4", ("missing",)) for n in range(60)]))
    assert "  ... and 10 more, all in report.csv" in text.splitlines()


def test_a_clean_survey_is_one_line():
    assert format_survey(make_survey([FileReport("a.mp4")])).strip() == (
        "1 videos examined, 0 unusable"
    )
