import numpy as np
import pytest

import amflow_mm.apis.flow_video as module
from amflow_mm.apis import VideoFlow, flow_of_video
from amflow_mm.apis.flow_video import measured_size
from amflow_mm.datasets.video_writer import write_video
from amflow_mm.engine.errors import MissingFileError, UserError
from tests.apis.square_video import GRID, square_column


def test_the_strongest_patches_are_those_that_the_square_leaves_and_enters(video, model):
    measured = flow_of_video(video, model, stride=2, size=70, layers=[0])
    assert measured.grid == GRID
    assert measured.flow.shape == (6, 35)
    for pair, w in enumerate(measured.flow):
        before, after = (2 * GRID[1] + square_column(2 * t) for t in (pair, pair + 1))
        assert set(np.argsort(w)[-2:]) == {before, after}


def test_result_says_how_it_was_measured(video, model):
    measured = flow_of_video(video, model, stride=3, size=70, layers=[2, 0, 2])
    assert measured.layers == (0, 2)
    assert measured.stride == 3
    assert measured.num_frames == 13
    assert measured.fps == 10.0
    assert len(measured.flow) == 4
    np.testing.assert_allclose(measured.flow.mean(axis=-1), 1, rtol=1e-5)


@pytest.mark.parametrize("pairs", [1, 2, 3, 6])
def test_pieces_equal_the_whole(video, model, monkeypatch, pairs):
    whole = flow_of_video(video, model, stride=2, size=70).flow
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", pairs)
    np.testing.assert_allclose(
        flow_of_video(video, model, stride=2, size=70).flow, whole, atol=1e-5
    )


def test_no_more_frames_are_kept_than_go_through_the_model_together(video, model, monkeypatch):
    monkeypatch.setattr(module, "PAIRS_AT_ONCE", 2)
    lengths = []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda clip, layers: lengths.append(len(clip)) or forward(clip, layers)
    )
    flow_of_video(video, model, stride=1, size=70)
    assert lengths == [3] * 6


def test_number_of_frames_limits_what_is_read(video, model):
    measured = flow_of_video(video, model, stride=2, size=70, num_frames=6)
    whole = flow_of_video(video, model, stride=2, size=70)
    assert measured.num_frames == 6
    np.testing.assert_allclose(measured.flow, whole.flow[:2], atol=1e-5)


def test_frames_of_any_size_are_measured_at_the_size_asked_for(tmp_path, model):
    frames = np.zeros((3, 90, 160, 3), np.uint8)
    write_video(tmp_path / "wide.mp4", frames, 5.0)
    measured = flow_of_video(tmp_path / "wide.mp4", model, size=56)
    assert measured.grid == (4, 7)


def test_still_video_has_uniform_flow(tmp_path, model, frames):
    write_video(tmp_path / "still.mp4", np.stack([np.full_like(frames[0], 90)] * 4), 5.0)
    measured = flow_of_video(tmp_path / "still.mp4", model, size=70)
    np.testing.assert_allclose(measured.flow, 1, atol=1e-4)


def test_progress_is_shown_on_request_only(video, model, capsys):
    flow_of_video(video, model, size=70)
    assert capsys.readouterr().err == ""
    flow_of_video(video, model, size=70, show_progress=True)
    assert "AM flow, frames: 13/13" in capsys.readouterr().err


class TestStride:
    @pytest.mark.parametrize(("fps", "stride"), [(10.0, 1), (25.0, 2), (30.0, 3), (60.0, 6)])
    def test_default_is_a_tenth_of_a_second(self, tmp_path, model, frames, fps, stride):
        write_video(tmp_path / "clip.mp4", frames, fps)
        assert flow_of_video(tmp_path / "clip.mp4", model, size=28).stride == stride

    def test_default_fits_the_shortest_video(self, tmp_path, model, frames):
        write_video(tmp_path / "clip.mp4", frames[:2], 60.0)
        measured = flow_of_video(tmp_path / "clip.mp4", model, size=28)
        assert measured.stride == 1
        assert len(measured.flow) == 1


class TestInterpolationInTime:
    flow = VideoFlow(
        flow=np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]),
        grid=(1, 2),
        stride=4,
        layers=(0,),
        num_frames=13,
        fps=25.0,
    )

    @pytest.mark.parametrize(
        ("index", "expected"),
        [(2, [1, 0]), (6, [0, 1]), (10, [0.5, 0.5]), (4, [0.5, 0.5]), (5, [0.25, 0.75])],
    )
    def test_pairs_hold_at_their_middles_and_blend_between(self, index, expected):
        np.testing.assert_allclose(self.flow.at(index), expected)

    def test_ends_are_held(self):
        np.testing.assert_allclose(self.flow.at(0), [1, 0])
        np.testing.assert_allclose(self.flow.at(12), [0.5, 0.5])


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(240, 320, (224, 294)), (320, 240, (294, 224)), (90, 9000, (224, 22400)), (5, 5, (224, 224))],
)
def test_measured_size_keeps_the_aspect_ratio_in_patches(height, width, expected):
    assert measured_size(height, width, size=224, patch_size=14) == expected


class TestErrors:
    def test_missing_video(self, tmp_path, model):
        with pytest.raises(MissingFileError, match="there is no such video file"):
            flow_of_video(tmp_path / "clip.mp4", model)

    def test_one_frame_is_too_short(self, tmp_path, model, frames):
        write_video(tmp_path / "one.mp4", frames[:1], 5.0)
        with pytest.raises(UserError, match="1 frames are too few to compare frames 1 apart"):
            flow_of_video(tmp_path / "one.mp4", model)

    def test_stride_beyond_the_end(self, video, model):
        with pytest.raises(UserError, match="13 frames are too few to compare frames 13 apart"):
            flow_of_video(video, model, stride=13)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"stride": 0}, "stride=0 must be >= 1"),
            ({"size": 13}, "size=13 must be >= the model's patch size, 14"),
            ({"num_frames": 1}, "num_frames=1 must be >= 2"),
            ({"layers": [0, 3]}, r"layers=\[0, 3\] must be blocks from 0 to 2"),
            ({"layers": [-1]}, r"layers=\[-1\] must be blocks"),
            ({"layers": []}, r"layers=\[\] must be blocks"),
        ],
    )
    def test_options_out_of_range(self, video, model, options, message):
        with pytest.raises(UserError, match=message):
            flow_of_video(video, model, **options)
