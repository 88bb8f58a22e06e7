import struct
import wave

import numpy as np
import pytest

from amflow_mm.apis.video_reader import UnreadableVideoError, probe_video, read_frames
from amflow_mm.engine.errors import MissingFileError, UserError

CLOCKWISE = (0, 1, 0, -1, 0, 0, 0, 0, 16384)  # as 16.16 numbers, the last one 2.30


def turn(path):
    """Mark an mp4 file as recorded by a telephone held upright: turn clockwise to view."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    matrix = [value * 65536 for value in CLOCKWISE]
    data[start : start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)


def damage(path, which):
    """Overwrite one packet of a video."""
    import av

    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        start, size = packets[which].pos, packets[which].size
    data = bytearray(path.read_bytes())
    data[start : start + size] = b"\xff" * size
    path.write_bytes(data)


def test_header(video, frames):
    info = probe_video(video)
    assert info.fps == 10.0
    assert info.num_frames == len(frames)


def test_frames_come_in_order_with_their_times(video, frames):
    read = list(read_frames(video))
    assert [frame.time for frame in read] == pytest.approx(np.arange(len(frames)) / 10)
    images = np.stack([frame.image for frame in read])
    assert images.dtype == np.uint8
    error = np.abs(images[:, None].astype(float) - frames[None]).mean(axis=(2, 3, 4))
    assert (error.diagonal() < 8).all()
    assert (error[2].argmin(), error[8].argmin()) in {(2, 8), (3, 8), (2, 9), (3, 9)}


def test_reading_stops_after_the_number_of_frames_asked_for(video):
    assert len(list(read_frames(video, num_frames=4))) == 4
    assert len(list(read_frames(video, num_frames=400))) == 13


def test_rotation_of_telephones_is_applied(video):
    plain = next(read_frames(video)).image
    turn(video)
    turned = next(read_frames(video)).image
    np.testing.assert_array_equal(turned, np.rot90(plain, k=-1))


def test_a_damaged_packet_costs_its_frames_only_and_is_told(video):
    damage(video, which=4)
    with pytest.warns(UserWarning, match=r"square\.mp4: \d+ damaged packets were skipped"):
        count = len(list(read_frames(video)))
    assert 6 <= count < 13


def test_video_without_one_good_frame_raises(video):
    import warnings

    for which in range(13):
        damage(video, which)
    with (
        warnings.catch_warnings(action="ignore"),
        pytest.raises(UnreadableVideoError, match="not one frame can be decoded"),
    ):
        list(read_frames(video))


@pytest.mark.parametrize("read", [probe_video, lambda path: next(read_frames(path))])
class TestErrors:
    def test_missing_file(self, tmp_path, read):
        with pytest.raises(MissingFileError, match=r"clip\.mp4: there is no such video file"):
            read(tmp_path / "clip.mp4")

    @pytest.mark.parametrize("content", [b"", b"this is no video at all\n"])
    def test_file_that_is_no_video(self, tmp_path, read, content):
        path = tmp_path / "clip.mp4"
        path.write_bytes(content)
        with pytest.raises(UnreadableVideoError, match="cannot be read as a video"):
            read(path)

    def test_file_that_was_cut_off(self, video, read):
        video.write_bytes(video.read_bytes()[:2000])  # the index stands at the end
        with pytest.raises(UnreadableVideoError, match="cannot be read as a video"):
            read(video)

    def test_sound_without_pictures(self, tmp_path, read):
        path = tmp_path / "sound.wav"
        with wave.open(str(path), "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(8000)
            sound.writeframes(bytes(1600))
        with pytest.raises(UnreadableVideoError, match="no video stream"):
            read(path)


def test_errors_are_the_users():
    assert issubclass(UnreadableVideoError, UserError)
    assert issubclass(UnreadableVideoError, ValueError)


def test_a_local_url_is_read_and_a_missing_one_told(video):
    assert len(list(read_frames(f"file://{video}", num_frames=2))) == 2
    with pytest.raises(MissingFileError, match="there is no such video file"):
        next(read_frames(f"file://{video}.no"))
