import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from amflow_mm.datasets import motion_dataset
from amflow_mm.datasets.motion_clips import generate_clip
from amflow_mm.datasets.motion_dataset import load_motion_truth, make_dataset, read_description
from amflow_mm.datasets.motion_scene import MOTION_CLASSES

ROOT = Path(__file__).parents[2]
TINY = {"num_train": 16, "num_val": 8, "num_frames": 3, "size": 34, "seed": 5}


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("motion"), **TINY)


def test_folder_holds_lists_videos_truth_and_description(dataset):
    assert (dataset / "classes.txt").read_text().split() == list(MOTION_CLASSES)
    train = (dataset / "train.txt").read_text().splitlines()
    assert train[:2] == ["videos/train/left_0000.mp4 0", "videos/train/right_0000.mp4 1"]
    assert len(train) == 16
    assert len(set(train)) == 16
    # Balanced and interleaved: labels count up again and again.
    assert [int(line.split()[1]) for line in train] == list(range(8)) * 2
    val = (dataset / "val.txt").read_text().splitlines()
    assert val[7] == "videos/val/counter_clockwise_0000.mp4 7"
    files = contents(dataset)
    for line in train + val:
        video = line.split()[0]
        assert video in files
        assert video.replace("videos/", "masks/").replace(".mp4", ".npz") in files
    assert len(files) == 2 * 24 + 4


def test_description_tells_how_the_set_was_made(dataset):
    description = json.loads((dataset / "dataset.json").read_text())
    assert description == read_description(dataset)
    assert description["complete"] is True
    assert description["counts"] == {"train": 16, "val": 8}
    assert description["classes"]["counter_clockwise"] == 7
    assert description["arguments"] == {
        **TINY,
        "difficulty": "easy",
        "camera": "static",
        "fps": 16,
        "version": motion_dataset.GENERATOR_VERSION,
    }


def test_videos_and_truth_are_the_generated_clips(dataset):
    clip = generate_clip("down", "train", 1, seed=5, num_frames=3, size=34)
    truth = load_motion_truth(dataset / "masks/train/down_0001.npz")
    np.testing.assert_array_equal(truth.masks, clip.masks)
    assert truth.masks.dtype == bool
    np.testing.assert_array_equal(truth.camera, clip.camera)
    np.testing.assert_array_equal(truth.state.center, clip.state.center)
    np.testing.assert_array_equal(truth.state.diameter, clip.state.diameter)
    np.testing.assert_array_equal(truth.state.angle, clip.state.angle)
    assert truth.texture_ids == clip.texture_ids
    with av.open(str(dataset / "videos/train/down_0001.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert np.abs(np.stack(frames).astype(float) - clip.frames).mean() < 10


def test_splits_share_no_texture(dataset):
    used = {
        split: {
            number
            for path in (dataset / "masks" / split).glob("*.npz")
            for number in load_motion_truth(path).texture_ids
        }
        for split in ("train", "val")
    }
    assert len(used["train"]) > 20
    assert not used["train"] & used["val"]


@pytest.mark.parametrize("num_workers", [1, 3])
def test_files_do_not_depend_on_the_number_of_workers(dataset, tmp_path, num_workers):
    make_dataset(tmp_path, **TINY, num_workers=num_workers)
    assert contents(tmp_path) == contents(dataset)


def test_complete_set_is_left_alone(dataset):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*")}
    calls = []
    make_dataset(dataset, **TINY, progress=lambda *counts: calls.append(counts))
    assert {path: path.stat().st_mtime_ns for path in dataset.rglob("*")} == before
    assert calls == []


def test_set_that_was_cut_off_is_finished(dataset, tmp_path, monkeypatch):
    write_clip, written = motion_dataset._write_clip, []

    def failing(folder, spec, key):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(key)
        write_clip(folder, spec, key)

    with monkeypatch.context() as patched:
        patched.setattr(motion_dataset, "_write_clip", failing)
        with pytest.raises(KeyboardInterrupt):
            make_dataset(tmp_path, **TINY, num_workers=1)
    assert read_description(tmp_path)["complete"] is False
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.mp4")}
    assert len(kept) == 5

    calls = []
    make_dataset(tmp_path, **TINY, progress=lambda *counts: calls.append(counts))
    assert contents(tmp_path) == contents(dataset)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert calls == [(done, 24) for done in range(5, 25)]


def test_lost_files_of_a_complete_set_are_made_again(dataset, tmp_path):
    make_dataset(tmp_path, **TINY)
    (tmp_path / "videos/val/up_0000.mp4").unlink()
    (tmp_path / "masks/train/left_0001.npz").unlink()
    make_dataset(tmp_path, **TINY)
    assert contents(tmp_path) == contents(dataset)


def test_other_arguments_in_the_same_folder_are_refused(dataset):
    before = contents(dataset)
    with pytest.raises(ValueError, match=r"seed=5 \(asked for 6\); choose another folder"):
        make_dataset(dataset, **{**TINY, "seed": 6})
    with pytest.raises(ValueError, match=r"camera='static' \(asked for 'moving'\), num_train=16"):
        make_dataset(dataset, **{**TINY, "camera": "moving", "num_train": 24})
    assert contents(dataset) == before


def test_videos_of_unknown_origin_are_refused(tmp_path):
    (tmp_path / "videos").mkdir()
    with pytest.raises(ValueError, match=r"holds videos but no dataset\.json"):
        make_dataset(tmp_path, **TINY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_train": 12}, "num_train=12 must be a positive multiple of 8"),
        ({"num_val": 0}, "num_val=0 must be a positive multiple of 8"),
        ({"fps": 0}, "fps=0 must be > 0"),
        ({"size": 33}, "size=33 must be even"),
        ({"camera": "drone"}, "camera='drone' must be one of"),
        ({"num_workers": 0}, "num_workers=0 must be >= 1"),
    ],
)
def test_impossible_arguments_are_refused_before_anything_is_written(
    tmp_path, own_checks_only, change, message
):
    with pytest.raises(ValueError, match=message):
        make_dataset(tmp_path / "new", **TINY | change)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow  # two fresh processes that import the package
def test_tool_writes_the_set_and_refuses_another_in_one_line(dataset, tmp_path):
    def run(seed):
        options = {"out": tmp_path, "train": 16, "val": 8, "frames": 3, "size": 34, "seed": seed}
        flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return subprocess.run(
            [sys.executable, "tools/data/make_motion_clips.py", *flags],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    made = run(seed=5)
    assert made.returncode == 0, made.stderr
    assert "16 training and 8 validation clips" in made.stdout
    assert "24/24 clips" in made.stderr
    assert contents(tmp_path) == contents(dataset)
    refused = run(seed=6)
    assert refused.returncode == 2
    assert "holds another data set: seed=5 (asked for 6)" in refused.stderr
    assert "Traceback" not in refused.stderr
