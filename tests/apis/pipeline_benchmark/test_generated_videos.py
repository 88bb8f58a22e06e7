"""Generated videos have the structure that makes decoding cost what it costs."""

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from amflow_mm.apis.pipeline_benchmark.generated_videos import (
    VideoShape,
    generate_videos,
    scene_frames,
)

SHAPE = VideoShape(gop_size=5, seconds=0.4, fps=30, height=48, width=64)


def test_default_is_a_clip_of_kinetics():
    shape = VideoShape()
    assert (shape.num_frames, shape.height, shape.width) == (300, 256, 340)


def test_frames_move_and_carry_noise():
    frames = list(scene_frames(SHAPE, seed=0))
    assert len(frames) == SHAPE.num_frames == 12
    assert frames[0].shape == (48, 64, 3)
    assert frames[0].dtype == np.uint8
    assert frames[0].std() > 10  # a scene, not a grey sheet
    near = np.abs(frames[1].astype(float) - frames[0]).mean()
    far = np.abs(frames[11].astype(float) - frames[0]).mean()
    assert 2 < near < far


def test_seed_decides_the_scene():
    first, again, other = (next(scene_frames(SHAPE, seed=seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_files_have_the_gop_and_b_frames(tmp_path):
    (path,) = generate_videos(tmp_path, SHAPE, count=1)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        keys = [p.pts // p.duration for p in container.demux(stream) if p.size and p.is_keyframe]
        assert (stream.height, stream.width, stream.average_rate) == (48, 64, 30)
        container.seek(0)
        kinds = {PictureType(frame.pict_type).name for frame in container.decode(stream)}
    assert keys == [0, 5, 10]
    assert kinds == {"I", "P", "B"}


def test_what_is_there_is_kept_and_what_is_missing_is_made(tmp_path):
    first = generate_videos(tmp_path, SHAPE, count=1)
    first[0].write_bytes(b"kept")
    paths = generate_videos(tmp_path, SHAPE, count=2)
    assert paths[0] == first[0]
    assert paths[0].read_bytes() == b"kept"
    assert paths[1].stat().st_size > 100


def test_other_shapes_go_to_other_folders(tmp_path):
    longer = VideoShape(gop_size=5, seconds=0.2, fps=30, height=48, width=64)
    (one,) = generate_videos(tmp_path, SHAPE, count=1)
    (other,) = generate_videos(tmp_path, longer, count=1)
    assert one.parent != other.parent


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gop_size": 0}, "gop_size=0"),
        ({"seconds": 0.0}, r"seconds \* fps=0"),
        ({"width": 33}, "width=33 must be even"),
    ],
)
def test_impossible_shapes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        VideoShape(**options)
