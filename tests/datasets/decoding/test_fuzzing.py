from functools import partial
from random import Random

import pytest

from amflow_mm.datasets.decoding import fuzzing
from amflow_mm.datasets.decoding.fuzzing import Case, Finding, FuzzReport, examine_case, fuzz
from amflow_mm.datasets.decoding.mutations import MUTATIONS, mutate, swap_boxes


@pytest.mark.parametrize("seed", range(len(MUTATIONS)))
def test_damage_repeats(video, seed):
    content = video.read_bytes()
    kind, damaged = mutate(content, seed)
    assert damaged != content
    assert (kind, damaged) == mutate(content, seed)
    assert kind == list(MUTATIONS)[seed]


def test_boxes_are_swapped_whole(video):
    content = video.read_bytes()
    for seed in range(20):
        swapped = swap_boxes(content, Random(seed))
        assert sorted(swapped) == sorted(content)
        assert swapped != content


@pytest.mark.parametrize("content", [b"ab", b"no boxes at all" * 9])
def test_files_of_other_formats_are_damaged_too(content):
    for seed in range(24):
        assert isinstance(mutate(content, seed)[1], bytes)


def test_damaged_files_are_read_or_refused(video, tmp_path):
    folder = tmp_path / "damaged"
    folder.mkdir()
    outcomes = {
        examine_case(Case(video, seed, "pyav"), folder=folder, timeout=10).outcome
        for seed in range(42)
    }
    assert {"read", "corrupt"} <= outcomes
    assert not outcomes & set(fuzzing.FAILURES)
    assert list(folder.iterdir()) == []


def test_blank_frames_are_found(video, tmp_path, monkeypatch):
    read = fuzzing._read_frames

    def blank(path, backend, timeout):
        images = read(video, "pyav", timeout)
        if path != video:
            images[3] = (0, 135, 0)
        return images

    monkeypatch.setattr(fuzzing, "_read_frames", blank)
    finding = examine_case(Case(video, 0, "pyav"), folder=tmp_path, timeout=10)
    assert finding.outcome == "blank frames"
    assert (tmp_path / "numbered_0_pyav.mp4").exists()


def test_other_errors_are_found(video, tmp_path, monkeypatch):
    def fail(path, backend, timeout):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(fuzzing, "_read_frames", fail)
    finding = examine_case(Case(video, 0, "pyav"), folder=tmp_path, timeout=10)
    assert (finding.outcome, finding.detail) == ("other error", "ZeroDivisionError: by zero")


def test_report(video):
    good, bad = Case(video, 1, "pyav"), Case(video, 2, "opencv")
    report = FuzzReport([Finding(good, "truncate", "read"), Finding(bad, "", "process died", "11")])
    assert [finding.case for finding in report.failures()] == [bad]
    lines = report.format().splitlines()
    assert lines[0].split() == ["pyav", "opencv"]
    assert lines[1].split() == ["read", "1", "0"]
    assert lines[2].split() == ["process", "died", "0", "1"]
    assert lines[3].endswith("numbered.mp4 seed 2 opencv: process died  11")


@pytest.mark.slow
def test_a_dying_process_is_a_finding(video, tmp_path, monkeypatch):
    import os

    monkeypatch.setattr(fuzzing, "examine_case", partial(os._exit))
    monkeypatch.setattr(fuzzing, "partial", lambda function, **_: die)
    report = fuzz([video], ["pyav"], tmp_path, num_files=2, timeout=10)
    assert [finding.outcome for finding in report.failures()] == ["process died"] * 2


def die(_):
    import os

    os._exit(7)
