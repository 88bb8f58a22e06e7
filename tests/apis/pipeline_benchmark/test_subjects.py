"""All subjects read the same pictures, whatever they read them from."""

from dataclasses import replace
from pathlib import Path

import pytest
from mmaction.datasets.transforms import SampleFrames
from mmengine.dataset import pseudo_collate

from amflow_mm.apis.pipeline_benchmark.agreement import compare_frames
from amflow_mm.apis.pipeline_benchmark.generated_videos import VideoShape, generate_videos
from amflow_mm.apis.pipeline_benchmark.pipelines import our_reader, reading
from amflow_mm.apis.pipeline_benchmark.subjects import (
    BASELINE,
    PREPARATIONS,
    Choice,
    make_subjects,
    working_backends,
)
from amflow_mm.apis.pipeline_benchmark.video_set import VideoSet
from amflow_mm.datasets.decoding import backends as backends_module
from amflow_mm.datasets.planned_clip import PlannedClip

SHAPE = VideoShape(gop_size=30, seconds=1.0, fps=24, height=48, width=64)
RAW, JPEG = "ours, clip cache, raw", "ours, clip cache, jpeg"
DEVICE = ", geometry on the device"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny_videos(tmp_path_factory):
    paths = generate_videos(tmp_path_factory.mktemp("videos"), SHAPE, count=2)
    return VideoSet("GOP 30", tuple(paths))


@pytest.fixture(scope="module")
def subjects(tiny_videos, tmp_path_factory):
    choice = Choice(backends=("auto", "pyav", "decord"))
    return make_subjects(tiny_videos, tmp_path_factory.mktemp("prepared with blanks"), choice)


def test_baseline_comes_first_and_ours_beside_it(subjects):
    assert [subject.name for subject in subjects] == [
        *(BASELINE, "MMAction2, pyav"),
        *("ours, auto", "ours, pyav", "ours, decord", "ours, re-encoded"),
        "ours, shards",
        *(RAW, RAW + DEVICE, JPEG, JPEG + DEVICE),
    ]
    assert {subject.videos for subject in subjects} == {"GOP 30"}


def test_mmaction2_stands_as_its_configs_have_it(subjects):
    assert [step["type"].__name__ for step in subjects[0].frames + subjects[0].tail] == [
        *("DecordInit", "UniformSample", "DecordDecode", "Resize"),
        *("RandomResizedCrop", "Resize", "Flip", "FormatShape", "PackActionInputs"),
    ]
    assert subjects[0].collate is pseudo_collate
    assert all(step["type"].__module__.startswith("mmaction.") for step in subjects[0].frames)


def test_all_read_the_same_frames(subjects):
    differences = compare_frames(subjects)["GOP 30"]
    assert differences[BASELINE] == 0.0
    assert differences["ours, decord"] < 0.1
    assert max(differences.values()) < 6.0  # frames of other moments are twice as far apart


def test_frames_of_other_moments_are_found_out(subjects):
    dense = dict(type=SampleFrames, clip_len=8, frame_interval=1, num_clips=1, test_mode=True)
    opening, _, *rest = subjects[0].fixed_frames
    other = replace(subjects[0], name="other", fixed_frames=(opening, dense, *rest))
    assert compare_frames([subjects[0], other])["GOP 30"]["other"] > 12.0


def test_every_subject_makes_clips_of_one_shape(subjects):
    for subject in subjects:
        clip = subject.build_dataset()[1]["inputs"]
        assert tuple(clip.shape) == (1, 3, 8, 224, 224), subject.name
        assert isinstance(clip, PlannedClip) == subject.name.endswith(DEVICE)


def test_prepared_subjects_do_not_read_the_originals(subjects, tiny_videos):
    for subject in subjects[5:]:
        assert subject.files
        assert not set(subject.files) & set(tiny_videos.paths), subject.name
        assert all(isinstance(path, Path) and path.is_file() for path in subject.files)


def test_preparations_can_be_left_out(tiny_videos, tmp_path):
    subjects = make_subjects(tiny_videos, tmp_path, Choice(preparations=("cache-jpeg",)))
    assert [subject.name for subject in subjects] == [BASELINE, "ours, auto", JPEG]


def test_auto_is_among_the_backends(tiny_videos):
    backends = working_backends(tiny_videos.paths[0])
    assert backends[0] == "auto"
    assert {"pyav", "decord", "opencv"} <= set(backends)


def test_a_backend_that_does_not_load_is_left_out(tiny_videos, monkeypatch):
    monkeypatch.setattr(backends_module, "PACKAGES", {**backends_module.PACKAGES, "decord": "no_"})
    assert "decord" not in working_backends(tiny_videos.paths[0])


def test_dense_sampling_takes_one_frame_in_eight():
    steps = reading(our_reader("auto"), "dense")
    assert steps[1]["type"].__name__ == "SampleFrames"
    assert (steps[1]["clip_len"], steps[1]["frame_interval"]) == (8, 8)


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match=r"backends=\('gpu',\) must be of auto, pyav"):
        Choice(backends=("gpu",))
    with pytest.raises(ValueError, match=r"preparations=\('zip',\) must be of reencode"):
        Choice(preparations=("zip",))
    with pytest.raises(ValueError, match="sampling='all' must be"):
        reading(our_reader("auto"), "all")
    assert "cache-raw" in PREPARATIONS
