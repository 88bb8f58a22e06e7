import pickle
from pathlib import Path

import numpy as np
import pytest
from mmaction.datasets.transforms import DenseSampleFrames, SampleFrames, UniformSample

from amflow_mm.datasets.decoding import UnreadableVideoError
from amflow_mm.datasets.transforms.decode import VideoDecode, VideoInit
from amflow_mm.registry import TRANSFORMS
from tests.datasets.decoding.numbered_videos import read_numbers, write_numbered


@pytest.fixture
def video(tmp_path):
    return write_numbered(tmp_path / "numbered.mp4")


def run(path, sampler, **options):
    results = {"filename": str(path), "start_index": 0, "modality": "RGB"}
    for step in (VideoInit(**options), sampler, VideoDecode()):
        results = step(results)
    return results


@pytest.mark.parametrize(
    "sampler",
    [
        UniformSample(clip_len=8, num_clips=2, test_mode=True),
        SampleFrames(clip_len=4, frame_interval=2, num_clips=3, target_fps=15),
        DenseSampleFrames(clip_len=4, frame_interval=2, num_clips=2, sample_range=16),
    ],
)
def test_samplers_of_mmaction2_get_the_frames_they_ask_for(video, sampler):
    results = run(video, sampler)
    assert results["total_frames"] == 40
    assert results["avg_fps"] == 30.0
    assert read_numbers(results["imgs"]) == results["frame_inds"].tolist()
    assert results["original_shape"] == results["img_shape"] == (64, 96)
    assert results["video_reader"] is None


def test_same_as_decord_of_mmaction2(video):
    from mmaction.datasets.transforms import DecordDecode, DecordInit

    pytest.importorskip("decord")
    frames = np.array([[3, 17], [17, 1]])
    ours = VideoDecode()({**VideoInit()({"filename": str(video)}), "frame_inds": frames})
    opening = DecordInit()
    opening.file_client = type("Disk", (), {"get": lambda _, path: Path(path).read_bytes()})()
    theirs = DecordDecode()({**opening({"filename": str(video)}), "frame_inds": frames.reshape(-1)})
    assert ours.keys() == theirs.keys()
    np.testing.assert_array_equal(ours["imgs"], theirs["imgs"])


def test_boxes_become_pixels(video):
    results = VideoInit()({"filename": str(video)})
    results |= {"frame_inds": [0], "gt_bboxes": np.array([[0.5, 0.25, 1, 1]]), "proposals": None}
    boxes = VideoDecode()(results)["gt_bboxes"]
    np.testing.assert_array_equal(boxes, np.array([[48, 16, 96, 64]], np.float32))


def test_a_video_that_cannot_be_read(tmp_path):
    with pytest.raises(UnreadableVideoError, match="there is no such video file"):
        VideoInit()({"filename": str(tmp_path / "none.mp4")})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "PyAV"}, "backend='PyAV' must be one of"),
        ({"num_threads": -1}, "num_threads=-1 must be"),
        ({"timeout": -1.0}, r"timeout=-1\.0 must be > 0"),
    ],
)
def test_options_are_checked(own_checks_only, options, message):
    with pytest.raises(ValueError, match=message):
        VideoInit(**options)


def test_built_by_name_and_sent_to_workers():
    step = TRANSFORMS.build({"type": "VideoInit", "backend": "pyav", "timeout": 5.0})
    copy = pickle.loads(pickle.dumps(step))
    assert repr(copy) == "VideoInit(backend='pyav', num_threads=1, timeout=5.0)"
    assert repr(TRANSFORMS.build({"type": "VideoDecode"})) == "VideoDecode()"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_data_workers(video, method):
    from torch.utils.data import DataLoader

    dataset = [{"filename": str(video), "frame_inds": np.array([i])} for i in (5, 30)]
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=1,
        collate_fn=decode_number,
        multiprocessing_context=method,
    )
    assert list(loader) == [5, 30]


def decode_number(sample):
    results = VideoDecode()(VideoInit(backend="opencv")(sample))
    return read_numbers(results["imgs"])[0]
