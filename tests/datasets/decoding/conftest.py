"""Fixtures for the tests of decoding."""

import os
import re
from pathlib import Path

import av
import pytest

from tests.datasets.decoding.numbered_videos import ENCODINGS, write_numbered


@pytest.fixture(scope="session")
def encoded(tmp_path_factory):
    """Return a function that encodes one of `ENCODINGS`, once for all tests."""
    folder = tmp_path_factory.mktemp("numbered")

    def encode(name: str) -> Path:
        path = folder / name
        return path if path.exists() else write_numbered(path, **ENCODINGS[name])

    return encode


@pytest.fixture
def video(tmp_path) -> Path:
    """Return a video of 40 numbered frames with B-frames, to be changed at will."""
    return write_numbered(tmp_path / "numbered.mp4", options={"g": "12", "bf": "3"})


@pytest.fixture(scope="session")
def ffmpeg_libraries(tmp_path_factory):
    """Let children that start from now on load FFmpeg, which TorchCodec needs, from PyAV."""
    bundled = Path(av.__file__).parents[1] / "av.libs"
    folder = tmp_path_factory.mktemp("ffmpeg")
    for library in bundled.glob("lib*.so.*"):
        # libavutil-5809ad29.so.60.26.102 is known to others as libavutil.so.60
        name = re.sub(r"-[0-9a-f]{8}\.so\.(\d+).*", r".so.\1", library.name)
        (folder / name).symlink_to(library)
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(folder), str(bundled), os.environ.get("LD_LIBRARY_PATH", "")]
        patch.setenv("LD_LIBRARY_PATH", os.pathsep.join(filter(None, paths)))
        yield
