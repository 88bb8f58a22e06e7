import os
from fractions import Fraction

import av
import numpy as np
import pytest

from amflow_mm.datasets.decoding.errors import UnreadableVideoError
from amflow_mm.datasets.video_files import transcode
from amflow_mm.datasets.video_files.encode_options import EncodeOptions
from amflow_mm.datasets.video_files.transcode import (
    TranscodingError,
    make_mark,
    read_mark,
    transcode_video,
)
from amflow_mm.datasets.video_writer import write_video
from tests.datasets.video_files.sample_videos import (
    MEDIA,
    cut,
    flip_bytes,
    remux_with_index_first,
    soft_frames,
    write_odd_video,
    write_sound,
)

SMALL = EncodeOptions(short_side=32, gop_size=5)


def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream, list(container.decode(stream))


def images(frames):
    return np.stack([frame.to_ndarray(format="rgb24") for frame in frames]).astype(float)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.mp4"
    write_video(path, soft_frames(23, 64, 96), 25, gop_size=250, encoder_options={"bf": "2"})
    return path


def test_result_is_small_h264_with_many_key_frames(tmp_path, source):
    done = transcode_video(source, tmp_path / "new" / "out.mp4", SMALL)
    stream, frames = decode(tmp_path / "new" / "out.mp4")
    assert stream.codec_context.name == "h264"
    assert stream.codec_context.pix_fmt == "yuv420p"
    assert stream.average_rate == 25
    assert (done.num_frames, done.width, done.height) == (23, 48, 32)
    assert done.num_bytes == (tmp_path / "new" / "out.mp4").stat().st_size
    assert done.psnr > 30
    assert {(frame.width, frame.height) for frame in frames} == {(48, 32)}
    keys = [index for index, frame in enumerate(frames) if frame.key_frame]
    assert keys[0] == 0
    assert max(np.diff([*keys, 23])) <= 5
    assert not any(av.video.frame.PictureType(f.pict_type).name == "B" for f in frames)


def test_each_frame_is_that_of_the_source(tmp_path, source):
    transcode_video(source, tmp_path / "out.mp4", SMALL)
    _, frames = decode(tmp_path / "out.mp4")
    theirs = images([frame.reformat(48, 32) for frame in decode(source)[1]])
    distance = np.abs(images(frames)[:, None] - theirs[None]).mean(axis=(2, 3, 4))
    np.testing.assert_array_equal(distance.argmin(axis=1), np.arange(23))
    assert distance.diagonal().max() < 4


def test_uneven_times_stay_from_the_first_frame_on(tmp_path):
    times = [500, 540, 580, 900, 901, 1000]
    write_odd_video(tmp_path / "a.mkv", soft_frames(6), times=times)
    transcode_video(tmp_path / "a.mkv", tmp_path / "out.mp4", SMALL)
    _, frames = decode(tmp_path / "out.mp4")
    assert [frame.time for frame in frames] == pytest.approx(
        [(time - 500) / 1000 for time in times], abs=1e-6
    )


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied(tmp_path, rotation):
    write_odd_video(tmp_path / "a.mp4", soft_frames(4, 40, 64), rotation=rotation)
    options = EncodeOptions(short_side=40)
    done = transcode_video(tmp_path / "a.mp4", tmp_path / "out.mp4", options)
    assert (done.width, done.height) == ((64, 40) if rotation == 180 else (40, 64))
    _, theirs = decode(tmp_path / "a.mp4")
    _, ours = decode(tmp_path / "out.mp4")
    assert {frame.rotation for frame in ours} == {0}
    upright = [np.rot90(image, round(theirs[0].rotation / 90)) for image in images(theirs)]
    assert np.abs(images(ours) - np.stack(upright)).mean() < 4


def test_oblong_pixels_become_square(tmp_path):
    write_odd_video(tmp_path / "a.mp4", soft_frames(3, 48, 48), aspect=Fraction(2, 1))
    square = transcode_video(tmp_path / "a.mp4", tmp_path / "square.mp4", SMALL)
    assert (square.width, square.height) == (64, 32)
    assert decode(tmp_path / "square.mp4")[0].sample_aspect_ratio in (None, 1)
    options = EncodeOptions(short_side=32, pixels="stored")
    stored = transcode_video(tmp_path / "a.mp4", tmp_path / "stored.mp4", options)
    assert (stored.width, stored.height) == (32, 32)


def test_oblong_pixels_are_turned_with_the_video(tmp_path):
    write_odd_video(tmp_path / "a.mp4", soft_frames(3, 48, 48), aspect=Fraction(2, 1), rotation=90)
    done = transcode_video(tmp_path / "a.mp4", tmp_path / "out.mp4", SMALL)
    assert (done.width, done.height) == (32, 64)


def test_odd_sizes_become_even_without_scaling(tmp_path):
    write_odd_video(tmp_path / "a.mp4", soft_frames(3, 47, 63), pix_fmt="yuv444p")
    done = transcode_video(tmp_path / "a.mp4", tmp_path / "out.mp4", EncodeOptions())
    assert (done.width, done.height) == (62, 46)


def test_full_range_colours_stay_the_same_colours(tmp_path):
    frames = soft_frames(3)
    write_odd_video(tmp_path / "a.mp4", frames, pix_fmt="yuvj420p")
    transcode_video(tmp_path / "a.mp4", tmp_path / "out.mp4", EncodeOptions(crf=10))
    theirs, ours = images(decode(tmp_path / "a.mp4")[1]), images(decode(tmp_path / "out.mp4")[1])
    assert np.abs(theirs - frames).mean() < 4
    assert np.abs(ours - theirs).mean() < 3


@pytest.mark.skipif(not MEDIA.is_dir(), reason="the collection of odd files is not there")
def test_sound_is_left_out_and_times_out_of_order_become_even(tmp_path):
    options = EncodeOptions(short_side=64)
    done = transcode_video(MEDIA / "mmaction2__test.avi", tmp_path / "out.mp4", options)
    assert done.num_frames == 164
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert not container.streams.audio
    times = [frame.time for frame in decode(tmp_path / "out.mp4")[1]]
    assert np.diff(times) == pytest.approx(1 / 25)


@pytest.mark.skipif(not MEDIA.is_dir(), reason="the collection of odd files is not there")
@pytest.mark.parametrize(
    ("name", "num_frames", "size"),
    [
        ("decord__video_90.mov", 3, (64, 114)),
        ("made__vfr.mp4", 145, (106, 64)),
        ("torchcodec__animated.gif", 4, (64, 48)),
        ("torchcodec__av1_video.mkv", 125, (114, 64)),
        ("torchcodec__h264_10bits.mp4", 30, (64, 64)),
        ("torchcodec__h265_video.mp4", 10, (64, 64)),
        ("torchcodec__test_non_zero_start.mp4", 12, (114, 64)),
        ("torchcodec__testsrc2_vp9.webm", 30, (114, 64)),
        ("torchvision__RATRACE_wave_f_nm_np1_fr_goo_37.avi", 72, (150, 64)),
    ],
)
def test_real_odd_files(tmp_path, name, num_frames, size):
    options = EncodeOptions(short_side=64, min_psnr=18)
    done = transcode_video(MEDIA / name, tmp_path / "out.mp4", options)
    assert (done.num_frames, (done.width, done.height)) == (num_frames, size)


@pytest.mark.parametrize(
    ("name", "reason"), [("missing.mp4", "missing"), ("text.mp4", "corrupt"), ("a.wav", "no_video")]
)
def test_what_is_no_video_is_refused(tmp_path, name, reason):
    (tmp_path / "text.mp4").write_text("no video")
    write_sound(tmp_path / "a.wav")
    with pytest.raises(UnreadableVideoError, match=name) as caught:
        transcode_video(tmp_path / name, tmp_path / "out" / "x.mp4", SMALL)
    assert caught.value.reason.startswith(reason)
    assert not list(tmp_path.glob("out/*"))


def test_damaged_videos_are_refused_unless_asked_for(tmp_path):
    source, target = tmp_path / "a.mp4", tmp_path / "out" / "a.mp4"
    write_video(source, soft_frames(60, 96, 128), 25, gop_size=60)
    flip_bytes(source, 0.4, 0.45)
    with pytest.raises(TranscodingError, match=r"damaged .*frames with errors.*--keep-damaged"):
        transcode_video(source, target, SMALL)
    assert not list(target.parent.iterdir())
    done = transcode_video(source, target, EncodeOptions(short_side=32, keep_damaged=True))
    assert done.num_frames == len(decode(target)[1])


def test_a_cut_video_is_refused_unless_asked_for(tmp_path):
    write_video(tmp_path / "whole.mp4", soft_frames(60, 96, 128), 25, encoder_options={"crf": "1"})
    remux_with_index_first(tmp_path / "whole.mp4", tmp_path / "a.mp4")
    cut(tmp_path / "a.mp4", 0.7)
    with pytest.raises(TranscodingError, match="of 60 frames are there"):
        transcode_video(tmp_path / "a.mp4", tmp_path / "out.mp4", SMALL)


def test_an_unlike_result_is_deleted(tmp_path, source):
    options = EncodeOptions(short_side=32, crf=51, min_psnr=60)
    with pytest.raises(TranscodingError, match="differs too much from the source: PSNR"):
        transcode_video(source, tmp_path / "out" / "a.mp4", options)
    assert not list((tmp_path / "out").iterdir())


def test_a_lost_frame_is_noticed(tmp_path, source, monkeypatch):
    encode = transcode._Encoding._encode

    def lose_count(self, *arguments):
        encode(self, *arguments)
        self.num_frames += 1

    monkeypatch.setattr(transcode._Encoding, "_encode", lose_count)
    with pytest.raises(TranscodingError, match="23 of 24 frames can be read back"):
        transcode_video(source, tmp_path / "out.mp4", SMALL)
    assert not (tmp_path / "out.mp4").exists()


def test_a_wrong_frame_is_noticed(tmp_path, source, monkeypatch):
    convert = transcode._Encoding._convert
    black = av.VideoFrame.from_ndarray(np.zeros((64, 96, 3), np.uint8), format="rgb24")

    def convert_one_wrongly(self, frame):
        return convert(self, black if self.num_frames == 4 else frame)

    monkeypatch.setattr(transcode._Encoding, "_convert", convert_one_wrongly)
    with pytest.raises(TranscodingError, match="differs too much from the source"):
        transcode_video(source, tmp_path / "out.mp4", SMALL)


def test_result_tells_from_what_and_how_it_was_made(tmp_path, source):
    transcode_video(source, tmp_path / "out.mp4", SMALL)
    mark = read_mark(tmp_path / "out.mp4")
    assert mark == make_mark(source, SMALL)
    assert mark != make_mark(source, EncodeOptions())
    assert read_mark(source) is None
    assert read_mark(tmp_path / "nowhere.mp4") is None
    os.utime(source, ns=(0, 0))
    assert mark != make_mark(source, SMALL)


def test_a_foreign_comment_is_no_mark(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        container.metadata["comment"] = '{"source": "a film"}'
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame in soft_frames(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    assert read_mark(tmp_path / "a.mp4") is None
