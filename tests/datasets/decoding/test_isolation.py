"""A backend that hangs, crashes or talks nonsense costs its own child process and no more."""

import os
import sys

import numpy as np
import pytest

from amflow_mm.datasets.decoding import UnreadableVideoError, open_video
from amflow_mm.datasets.decoding.child_process import child_of

# A package that stands in for TorchCodec in the child: behaves by the name of the file.
FAKE_DECODERS = """
import os, time
import torch
class VideoDecoder:
    def __init__(self, path, **_):
        path = os.path.basename(path)
        if "hang" in path:
            time.sleep(600)
        if "crash" in path:
            os.abort()
        if "raise" in path:
            raise RuntimeError("first line\\nsecond line")
        print("noise on stdout", flush=True)
        self.metadata = type("Metadata", (), {"num_frames": 40 - ("short" in path)})
    def get_frames_at(self, indices):
        values = torch.tensor(indices, dtype=torch.uint8)[:, None, None, None]
        return type("Batch", (), {"data": values.expand(-1, 64, 96, 3).contiguous()})
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a package in front of the real one, for children that start from now on."""
    package = tmp_path / "fake" / "torchcodec"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "decoders.py").write_text(FAKE_DECODERS)
    monkeypatch.setattr(sys, "path", [str(package.parent), *sys.path])
    stop_child()
    yield package / "decoders.py"
    stop_child()


def stop_child():
    child_of("torchcodec", os.getpid()).stop()


def read(video, name, indices=(3, 1), timeout=30.0):
    path = video.rename(video.with_name(name))
    with open_video(path, backend="torchcodec", timeout=timeout) as reader:
        return reader.read(indices)


def test_frames_come_through(fake, video):
    assert read(video, "fine.mp4")[:, 0, 0, 0].tolist() == [3, 1]


def test_a_hang_ends_with_the_time(fake, video):
    with pytest.raises(UnreadableVideoError, match=r"did not read it within 0\.5 s") as caught:
        read(video, "hang.mp4", timeout=0.5)
    assert caught.value.reason == "timeout"
    assert read(video.with_name("hang.mp4"), "fine.mp4").shape == (2, 64, 96, 3)


def test_a_crash_is_told(fake, video):
    with pytest.raises(UnreadableVideoError, match="torchcodec crashed on it") as caught:
        read(video, "crash.mp4")
    assert caught.value.reason == "crash"
    assert read(video.with_name("crash.mp4"), "fine.mp4").shape == (2, 64, 96, 3)


def test_whatever_a_decoder_raises_is_a_reason(fake, video):
    with pytest.raises(UnreadableVideoError, match=r"torchcodec cannot read it \(first line\)"):
        read(video, "raise.mp4")


def test_another_number_of_frames_is_refused(fake, video):
    with pytest.raises(UnreadableVideoError, match="TorchCodec finds 39 of 40 frames"):
        read(video, "short.mp4")


def test_a_package_that_does_not_load(fake, video):
    fake.write_text("raise OSError('libavutil is missing')")
    with pytest.raises(UnreadableVideoError, match="fails to load: libavutil is missing") as caught:
        read(video, "fine.mp4")
    assert caught.value.reason == "no_backend"


def test_auto_falls_back_counts_and_remembers(fake, video, monkeypatch):
    from amflow_mm.datasets.decoding import auto_reader, fallback_counts
    from amflow_mm.datasets.decoding.decoder import Decoder
    from amflow_mm.datasets.decoding.errors import unreadable

    def refuse(self):
        raise unreadable(video, "no_decoder", "there is no decoder for its video stream")

    logged = []
    monkeypatch.setattr(Decoder, "restart", refuse)
    monkeypatch.setattr(auto_reader, "print_log", lambda text, **_: logged.append(text))
    monkeypatch.setattr(auto_reader, "_served_by", {})
    for _ in range(2):
        with open_video(video) as reader:
            np.testing.assert_array_equal(reader.read([4])[0], np.full((64, 96, 3), 4))
            assert reader.backend == "torchcodec"
    assert fallback_counts() == {"torchcodec": 1}
    assert len(logged) == 1
    assert "read with torchcodec, because pyav cannot: " in logged[0]


def test_without_any_backend_the_first_reason_counts(fake, video, monkeypatch):
    from amflow_mm.datasets.decoding import auto_reader
    from amflow_mm.datasets.decoding.decoder import Decoder
    from amflow_mm.datasets.decoding.errors import unreadable

    def refuse(self):
        raise unreadable(video, "no_decoder", "there is no decoder for its video stream")

    monkeypatch.setattr(Decoder, "restart", refuse)
    monkeypatch.setattr(auto_reader, "is_installed", lambda backend: backend == "torchcodec")
    path = video.rename(video.with_name("crash.mp4"))
    with (
        open_video(path) as reader,
        pytest.raises(UnreadableVideoError, match="no backend can read it") as caught,
    ):
        reader.read([0])
    assert caught.value.reason == "no_decoder"
    assert "torchcodec: torchcodec crashed on it" in str(caught.value)
