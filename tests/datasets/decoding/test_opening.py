import pickle

import av
import fsspec
import numpy as np
import pytest
from av.stream import Disposition

from amflow_mm.datasets.decoding import UnreadableVideoError, VideoFacts, open_video, probe_video
from amflow_mm.datasets.decoding import backends as backends_module
from amflow_mm.datasets.decoding import source as source_module
from amflow_mm.datasets.storage import MissingStoredFileError
from amflow_mm.errors import UserError
from tests.datasets.decoding.numbered_videos import read_numbers, write_numbered


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "ffmpeg"}, "backend='ffmpeg' must be one of auto, pyav, "),
        ({"num_threads": 0}, "num_threads=0 must be a whole number >= 1"),
        ({"num_threads": 1.5}, r"num_threads=1\.5 must be a whole number >= 1"),
        ({"timeout": 0}, "timeout=0 must be > 0"),
    ],
)
def test_options_are_checked(own_checks_only, video, options, message):
    with pytest.raises(ValueError, match=message):
        open_video(video, **options)


def test_a_backend_that_is_not_installed(video, monkeypatch):
    monkeypatch.setattr(backends_module, "PACKAGES", {"decord": "no_such_package"})
    with pytest.raises(UnreadableVideoError, match="needs the package no_such_package") as caught:
        open_video(video, backend="decord")
    assert caught.value.reason == "no_backend"


def test_urls_are_fetched(video):
    url = "memory://bucket/clip.mp4"
    with fsspec.open(url, "wb") as file:
        file.write(video.read_bytes())
    with open_video(url) as reader:
        assert reader.name == url
        assert read_numbers(reader.read([9, 2])) == [9, 2]
    assert probe_video(url).num_bytes == video.stat().st_size


def test_a_url_that_leads_nowhere():
    with pytest.raises(UnreadableVideoError, match="there is no such video file") as caught:
        open_video("memory://bucket/none.mp4")
    assert caught.value.reason == "missing"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such video file"),
        (b"", "the file is empty"),
        (b"no video", "cannot be read as a video"),
    ],
)
def test_messages_hide_the_secrets_of_a_url(monkeypatch, content, message):
    asked = []

    def read(url):
        asked.append(url)
        if content is None:
            raise MissingStoredFileError("nothing there")
        return content

    monkeypatch.setattr(source_module, "read_bytes", read)
    url = "https://me:password@host/clip.mp4?signature=abcdef"
    with pytest.raises(UnreadableVideoError, match=message) as caught:
        open_video(url)
    assert asked == [url]
    assert str(caught.value).startswith("https://…@host/clip.mp4?…: ")
    assert caught.value.path == "https://…@host/clip.mp4?…"


def test_a_video_behind_a_signed_url(video, monkeypatch):
    monkeypatch.setattr(source_module, "read_bytes", lambda url: video.read_bytes())
    with open_video("https://host/clip.mp4?signature=abcdef") as reader:
        assert reader.name == "https://host/clip.mp4?…"
        assert read_numbers(reader.read([9, 2])) == [9, 2]
        with pytest.raises(IndexError, match=r"clip\.mp4\?… has 40 frames"):
            reader.read([40])


def test_a_colon_in_a_name_is_no_protocol(video, monkeypatch):
    monkeypatch.chdir(video.parent)
    video.rename("http:clip.mp4")
    with open_video("http:clip.mp4") as reader:
        assert reader.num_frames == 40


def test_a_closed_video(video):
    with open_video(video) as reader:
        assert reader.num_frames == 40
    reader.close()
    with pytest.raises(ValueError, match="was closed: open it again"):
        reader.read([0])


def test_errors_keep_their_parts_across_processes():
    error = UnreadableVideoError("a.mp4: gone", path="a.mp4", reason="missing")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.path, copy.reason) == ("a.mp4: gone", "a.mp4", "missing")
    assert isinstance(copy, UserError)
    # PyTorch rebuilds errors of data workers from their text.
    assert str(UnreadableVideoError("text")) == "text"


def test_facts(video):
    assert probe_video(video) == VideoFacts(
        num_frames=40,
        declared_frames=40,
        fps=30.0,
        width=96,
        height=64,
        rotation=0,
        codec="h264",
        pixel_format="yuv420p",
        duration=pytest.approx(40 / 30),
        start_time=0.0,
        is_variable_rate=False,
        has_audio=False,
        gop_size=12,
        num_bytes=video.stat().st_size,
    )


def test_facts_of_odd_videos(encoded, video):
    from tests.apis.test_video_reader import turn

    varying = probe_video(encoded("variable_rate.mp4"))
    assert varying.is_variable_rate
    assert varying.duration > 5
    assert probe_video(encoded("late_start.mp4")).start_time == pytest.approx(100 / 30, abs=1e-3)
    untimed = probe_video(encoded("untimed.avi"))
    assert (untimed.num_frames, untimed.is_variable_rate) == (40, False)
    turn(video)
    turned = probe_video(video)
    assert (turned.rotation, turned.height, turned.width) == (270, 96, 64)


def test_millisecond_clocks_are_not_variable(tmp_path):
    assert not probe_video(write_numbered(tmp_path / "steady.mkv", fps=30)).is_variable_rate
    assert not probe_video(write_numbered(tmp_path / "fast.mkv", fps=240)).is_variable_rate


def test_facts_of_a_damaged_first_frame(video):
    from tests.datasets.decoding.test_damage import overwrite

    overwrite(video, 0, 255)
    assert probe_video(video).rotation == 0


def test_folders_are_videos(tmp_path):
    cv2 = pytest.importorskip("cv2")
    for number in (1, 2, 10):
        image = np.zeros((4, 6, 3), np.uint8)
        image[..., 2] = number  # red
        cv2.imwrite(str(tmp_path / f"img_{number}.png"), image)
    (tmp_path / "notes.txt").write_text("no image")
    with open_video(tmp_path) as reader:
        assert (reader.num_frames, reader.fps, reader.backend) == (3, 0.0, "folder")
        assert (reader.height, reader.width) == (4, 6)
        images = reader.read([2, 0, 1, 2])
    assert images[:, 0, 0].tolist() == [[10, 0, 0], [1, 0, 0], [2, 0, 0], [10, 0, 0]]


def test_folders_that_are_no_videos(tmp_path):
    cv2 = pytest.importorskip("cv2")
    with pytest.raises(UnreadableVideoError, match="not one image in the folder") as caught:
        open_video(tmp_path)
    assert caught.value.reason == "no_frames"
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((4, 6, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "2.png"), np.zeros((4, 8, 3), np.uint8))
    (tmp_path / "3.png").write_bytes(b"\x89PNG")
    with open_video(tmp_path) as reader:
        with pytest.raises(UnreadableVideoError, match=r"2\.png is 4 x 8 pixels, 1\.png is 4 x 6"):
            reader.read([0, 1])
        with pytest.raises(UnreadableVideoError, match=r"frame 2, 3\.png, is damaged"):
            reader.read([2])


def test_a_cover_picture_of_a_sound_file_is_no_video(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(path, "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
        stream.disposition = Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 90, np.uint8), format="rgb24")
        container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    with pytest.raises(UnreadableVideoError, match="no video stream") as caught:
        open_video(path)
    assert caught.value.reason == "no_video_stream"
