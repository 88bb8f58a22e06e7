"""OpenCV, replaced by a stand-in, loses a frame on the way."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from amflow_mm.datasets.decoding import UnreadableVideoError
from amflow_mm.datasets.decoding.foreign import Request, read
from amflow_mm.datasets.decoding.source import VideoSource


def fake_opencv(lost):
    """Make a package whose video shows frame i as grey level i, without the frame ``lost``."""

    class VideoCapture:
        def __init__(self, *_):
            self.shown = -1

        def grab(self):
            self.shown += 1 + (self.shown + 1 == lost)
            return self.shown < 20

        def get(self, _):
            return 1000 * self.shown / 30

        def retrieve(self):
            return True, np.full((2, 3, 3), self.shown, np.uint8)

        def release(self):
            self.shown = None

    names = ("CAP_PROP_N_THREADS", "CAP_FFMPEG", "CAP_PROP_POS_MSEC", "COLOR_BGR2RGB")
    return SimpleNamespace(
        VideoCapture=VideoCapture, cvtColor=lambda image, _: image, **dict.fromkeys(names, 0)
    )


def make_request(frames, times=tuple(i / 30 for i in range(20))):
    source = VideoSource("clip.mp4", b"content")
    return Request(source, 1, 20, frames, times=times, container="mov", is_interlaced=False)


def test_frames_before_the_loss_are_good(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", fake_opencv(lost=10))
    assert read("opencv", make_request([2, 9]))[:, 0, 0, 0].tolist() == [2, 9]


@pytest.mark.parametrize("frame", [10, 15])
def test_frames_behind_it_would_be_others(monkeypatch, frame):
    monkeypatch.setitem(sys.modules, "cv2", fake_opencv(lost=10))
    with pytest.raises(UnreadableVideoError, match=f"frame {frame + 1} in place of frame {frame}"):
        read("opencv", make_request([2, frame]))


def test_the_end_comes_too_early(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", fake_opencv(lost=10))
    with pytest.raises(UnreadableVideoError, match="OpenCV cannot decode frame 19"):
        read("opencv", make_request([19], times=None))
