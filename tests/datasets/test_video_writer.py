import av
import numpy as np
import pytest

from amflow_mm.datasets.motion_clips import generate_clip
from amflow_mm.datasets.video_writer import GOP_SIZE, write_video


@pytest.fixture
def frames():
    return generate_clip("right", "train", 0, num_frames=7, size=66).frames[:, :62]


def read_video(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = list(container.decode(stream))
        return stream, decoded


def test_written_video_reads_back_nearly_unchanged(tmp_path, frames):
    path = tmp_path / "new" / "clip.mp4"
    write_video(path, frames, fps=12)
    stream, decoded = read_video(path)
    assert stream.codec_context.name == "h264"
    assert stream.codec_context.pix_fmt == "yuv420p"
    assert stream.average_rate == 12
    pictures = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
    assert pictures.shape == frames.shape
    error = np.abs(pictures.astype(float) - frames)
    assert error.mean() < 6
    # Not merely the same average picture: each frame is nearest to its own original.
    distance = np.abs(pictures[:, None].astype(float) - frames[None]).mean(axis=(2, 3, 4))
    np.testing.assert_array_equal(distance.argmin(axis=1), np.arange(len(frames)))


def test_key_frames_are_close_together(tmp_path, frames):
    write_video(tmp_path / "clip.mp4", frames, fps=8)
    _, decoded = read_video(tmp_path / "clip.mp4")
    key_frames = [t for t, frame in enumerate(decoded) if frame.key_frame]
    assert key_frames[0] == 0
    assert max(np.diff([*key_frames, len(decoded)])) <= GOP_SIZE


@pytest.mark.parametrize("gop_size", [1, 3, 250])
def test_distance_of_key_frames_can_be_chosen(tmp_path, frames, gop_size):
    write_video(
        tmp_path / "clip.mp4",
        frames,
        fps=8,
        gop_size=gop_size,
        encoder_options={"sc_threshold": "0"},
    )
    _, decoded = read_video(tmp_path / "clip.mp4")
    key_frames = [t for t, frame in enumerate(decoded) if frame.key_frame]
    assert key_frames == list(range(0, 7, gop_size))


def test_encoder_options_stand_over_the_defaults(tmp_path, frames):
    options = {"bf": "2", "x264-params": "b-adapt=0:asm=0", "crf": "30"}
    write_video(tmp_path / "b.mp4", frames, fps=8, gop_size=250, encoder_options=options)
    write_video(tmp_path / "p.mp4", frames, fps=8, gop_size=250)
    kinds = {
        name: {
            av.video.frame.PictureType(frame.pict_type).name
            for frame in read_video(tmp_path / name)[1]
        }
        for name in ("b.mp4", "p.mp4")
    }
    assert kinds == {"b.mp4": {"I", "P", "B"}, "p.mp4": {"I", "P"}}
    assert (tmp_path / "b.mp4").stat().st_size < (tmp_path / "p.mp4").stat().st_size


def test_fractional_frame_rate_is_kept(tmp_path, frames):
    write_video(tmp_path / "clip.mp4", frames, fps=30000 / 1001)
    stream, _ = read_video(tmp_path / "clip.mp4")
    assert float(stream.average_rate) == pytest.approx(30000 / 1001, abs=1e-6)


def test_same_frames_give_the_same_bytes(tmp_path, frames):
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, frames, fps=8)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_series_of_frames_gives_the_bytes_of_the_array(tmp_path, frames):
    write_video(tmp_path / "a.mp4", frames, fps=8)
    write_video(tmp_path / "b.mp4", (frame for frame in frames), fps=8)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_only_one_frame_is_asked_for_at_a_time(tmp_path, frames, monkeypatch):
    events = []
    make_picture = av.VideoFrame.from_ndarray

    def series():
        for index, frame in enumerate(frames[:3]):
            events.append(f"make {index}")
            yield frame

    def encode(*args, **kwargs):
        events.append("encode")
        return make_picture(*args, **kwargs)

    monkeypatch.setattr(av.VideoFrame, "from_ndarray", encode)
    write_video(tmp_path / "a.mp4", series(), fps=8)
    assert events == ["make 0", "encode", "make 1", "encode", "make 2", "encode"]


def test_frames_that_are_not_contiguous_are_written_alike(tmp_path, frames):
    write_video(tmp_path / "a.mp4", frames[:, :, ::-1], fps=8)
    write_video(tmp_path / "b.mp4", np.ascontiguousarray(frames[:, :, ::-1]), fps=8)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_failure_leaves_the_old_file_and_no_rubbish(tmp_path, frames, monkeypatch):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")

    def fail(*args, **kwargs):
        raise RuntimeError("encoder is gone")

    monkeypatch.setattr(av.VideoFrame, "from_ndarray", fail, raising=True)
    with pytest.raises(RuntimeError, match="encoder is gone"):
        write_video(path, frames, fps=8)
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.mp4"]
    assert path.read_bytes() == b"old"


def test_failure_of_a_series_leaves_no_file(tmp_path, frames):
    def series():
        yield from frames
        raise RuntimeError("the disk is on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        write_video(tmp_path / "clip.mp4", series(), fps=8)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((3, 31, 32, 3), np.uint8, "31 x 32 pixels, but height and width must be even"),
        ((3, 32, 33, 3), np.uint8, "32 x 33 pixels, but height and width must be even"),
        ((32, 32, 3), np.uint8, r"frames\[0\].shape=\(32, 3\) must be \[height width 3\]"),
        ((3, 3, 32, 32), np.uint8, r"must be \[height width 3\]"),
        ((0, 32, 32, 3), np.uint8, "frames is empty"),
        ((3, 32, 32, 3), np.float32, r"frames\[0\].dtype=float32 must be uint8"),
    ],
)
def test_frames_that_cannot_be_encoded_are_refused(
    tmp_path, own_checks_only, shape, dtype, message
):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "clip.mp4", np.zeros(shape, dtype), fps=8)
    assert not list(tmp_path.iterdir())


def test_frames_must_be_of_one_size(tmp_path, frames):
    series = [frames[0], frames[1], frames[2][:, :32]]
    message = r"frames\[2\].shape=\(62, 32, 3\) must be that of the first frame, \(62, 66, 3\)"
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "clip.mp4", series, fps=8)
    assert not list(tmp_path.iterdir())


def test_frame_rate_must_be_positive(tmp_path, frames):
    with pytest.raises(ValueError, match="fps=0 must be > 0"):
        write_video(tmp_path / "clip.mp4", frames, fps=0)


def test_distance_of_key_frames_must_be_positive(tmp_path, frames):
    with pytest.raises(ValueError, match="gop_size=0 must be >= 1"):
        write_video(tmp_path / "clip.mp4", frames, fps=8, gop_size=0)
