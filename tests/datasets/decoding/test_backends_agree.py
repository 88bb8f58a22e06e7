"""Frame i is the same frame in every backend, also where the backend's own numbers differ."""

import numpy as np
import pytest

from amflow_mm.datasets.decoding import UnreadableVideoError, open_video
from amflow_mm.datasets.decoding.backends import is_installed
from tests.datasets.decoding.numbered_videos import ENCODINGS, read_numbers, write_numbered

REFUSALS = {
    ("decord", "av1.mp4"): "corrupt",
    ("decord", "open_gop.ts"): "no_decoder",
    ("torchcodec", "mpeg2.mpg"): "no_decoder",
    ("torchcodec", "mpeg4.avi"): "no_decoder",
    ("torchcodec", "open_gop.ts"): "corrupt",
    ("torchcodec", "no_key_frames.mp4"): "corrupt",
    ("torchcodec", "untimed.avi"): "no_decoder",
}
"""What a backend refuses, because it would deliver other frames."""

LATE = {("opencv", "mpeg2.mpg"): 38}
"""Files of which a backend does not deliver the last frames; the number of the last good one."""

BACKENDS = [
    pytest.param(
        name,
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(not is_installed(name), reason="not installed"),
        ],
    )
    for name in ("opencv", "decord", "torchcodec")
]


@pytest.mark.usefixtures("ffmpeg_libraries")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ENCODINGS)
def test_same_frames(encoded, backend, name):
    path = encoded(name)
    total = ENCODINGS[path.name].get("num_frames", 40)
    last = LATE.get((backend, path.name), total - 1)
    rng = np.random.default_rng(3)
    indices = [*rng.integers(0, last + 1, 6).tolist(), 7, 7, last]
    with open_video(path, backend=backend) as reader:
        assert reader.num_frames == total
        reason = REFUSALS.get((backend, path.name))
        if reason is None:
            assert read_numbers(reader.read(indices)) == indices
            return
        with pytest.raises(UnreadableVideoError, match=path.name) as caught:
            reader.read(indices)
        assert caught.value.reason == reason


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["opencv", "decord"])
def test_rotation_is_honoured(tmp_path, backend):
    from tests.apis.test_video_reader import turn

    path = write_numbered(tmp_path / "telephone.mp4")
    turn(path)
    images = []
    for name in ("pyav", backend):
        with open_video(path, backend=name) as reader:
            assert (reader.height, reader.width) == (96, 64)
            images.append(reader.read([5, 20]))
    assert read_numbers(np.rot90(images[0], k=1, axes=(1, 2))) == [5, 20]
    assert np.abs(images[0].astype(int) - images[1]).mean() < 3


@pytest.mark.slow
def test_opencv_refuses_what_it_would_turn_into_noise(tmp_path):
    path = write_numbered(tmp_path / "woven.mp4", options={"x264-params": "tff=1"})
    with (
        open_video(path, backend="opencv") as reader,
        pytest.raises(UnreadableVideoError, match="does not convert interlaced") as caught,
    ):
        reader.read([0])
    assert caught.value.reason == "no_decoder"
