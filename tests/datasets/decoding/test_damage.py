"""What is damaged is refused where it is asked for, and nowhere else."""

import av
import numpy as np
import pytest

from amflow_mm.datasets.decoding import UnreadableVideoError, open_video
from tests.datasets.decoding.numbered_videos import decode_in_a_row, read_numbers, write_numbered


def packet_spans(path):
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


def overwrite(path, which, value):
    """Overwrite one packet, the length of its first unit aside."""
    start, size = packet_spans(path)[which]
    data = bytearray(path.read_bytes())
    data[start + 4 : start + size] = bytes([value]) * (size - 4)
    path.write_bytes(data)


@pytest.fixture
def plain_video(tmp_path):
    """Three groups of twelve frames without B-frames: frame i is packet i."""
    return write_numbered(tmp_path / "plain.mp4", 36, options={"g": "12", "bf": "0"})


@pytest.mark.parametrize("value", [0, 255])
def test_damage_spoils_what_refers_to_it(plain_video, value):
    whole = decode_in_a_row(plain_video)
    overwrite(plain_video, 17, value)
    with open_video(plain_video) as reader:
        for frame in (17, 18, 23):
            with pytest.raises(UnreadableVideoError, match=f"frame {frame} is damaged") as caught:
                reader.read([0, frame])
            assert caught.value.reason == "corrupt"
            assert caught.value.path == str(plain_video)
        good = [0, 12, 16, 24, 35]
        np.testing.assert_array_equal(reader.read(good), whole[good])


def test_damage_in_files_without_times(tmp_path):
    path = write_numbered(tmp_path / "untimed.avi", 36, options={"g": "12", "bf": "2"})
    with open_video(path, backend="pyav") as reader:
        assert reader.table is None
    overwrite(path, 17, 255)
    with open_video(path) as reader:
        assert read_numbers(reader.read([0, 5])) == [0, 5]
        with pytest.raises(UnreadableVideoError, match=r"frame \d+ is damaged"):
            reader.read(range(12, reader.num_frames))


def test_a_truncated_file_is_as_long_as_what_is_left(tmp_path):
    options = {"g": "12", "bf": "0"}
    path = write_numbered(tmp_path / "cut.mkv", 36, options=options)
    whole = decode_in_a_row(path)
    start, size = packet_spans(path)[20]
    path.write_bytes(path.read_bytes()[: start + size // 2])
    with open_video(path) as reader:
        assert reader.num_frames == 20
        np.testing.assert_array_equal(reader.read([19, 3]), whole[[19, 3]])


def test_what_the_header_promises_and_the_file_lacks_is_told_once(tmp_path, monkeypatch):
    from amflow_mm.datasets.decoding import pyav_reader

    index_first = {"movflags": "faststart"}
    options = {"g": "12", "bf": "0"}
    path = write_numbered(tmp_path / "cut.mp4", 36, options=options, container_options=index_first)
    path.write_bytes(path.read_bytes()[: packet_spans(path)[20][0]])
    logged = []
    monkeypatch.setattr(pyav_reader, "print_log", lambda text, **_: logged.append(text))
    for _ in range(2):
        with open_video(path) as reader:
            assert reader.num_frames == 20
    assert logged == [f"{path}: the header declares 36 frames, 20 are there"]


def test_a_lost_index_is_told(plain_video):
    plain_video.write_bytes(plain_video.read_bytes()[:5000])
    with pytest.raises(UnreadableVideoError, match="no index, was the file cut off") as caught:
        open_video(plain_video)
    assert caught.value.reason == "truncated"


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "empty"), (b"this is no video\n" * 9, "corrupt")]
)
def test_files_that_are_no_videos(tmp_path, content, reason):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(UnreadableVideoError, match="cannot be read as a video") as caught:
        open_video(path)
    assert caught.value.reason == reason


def test_missing_file(tmp_path):
    with pytest.raises(UnreadableVideoError, match="there is no such video file") as caught:
        open_video(tmp_path / "clip.mp4")
    assert caught.value.reason == "missing"


def test_sound_without_pictures(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UnreadableVideoError, match="no video stream in the file") as caught:
        open_video(path)
    assert caught.value.reason == "no_video_stream"


def test_time_runs_out(video):
    with pytest.raises(UnreadableVideoError, match=r"took too long|not read within") as caught:
        open_video(video, backend="pyav", timeout=1e-6)
    assert caught.value.reason == "timeout"


def test_time_between_calls_is_free(video, monkeypatch):
    from amflow_mm.datasets.decoding import time_limit

    now = [0.0]
    monkeypatch.setattr(time_limit.time, "monotonic", lambda: now[0])
    with open_video(video, backend="pyav", timeout=5) as reader:
        now[0] += 1000
        assert read_numbers(reader.read([7])) == [7]
