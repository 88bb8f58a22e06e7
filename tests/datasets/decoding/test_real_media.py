"""Odd files of other projects: each decodes to the right frames, or is refused with a reason."""

import contextlib

import av
import numpy as np
import pytest

from amflow_mm.datasets.decoding import UnreadableVideoError, open_video
from amflow_mm.datasets.decoding.backends import is_installed
from tests.datasets.decoding.real_media import (
    DAMAGED,
    FOLDER,
    MAX_DIFFERENCE,
    NUM_FRAMES,
    REFUSED,
    REFUSED_BY,
)

pytestmark = [
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the collection is not there"),
    pytest.mark.usefixtures("ffmpeg_libraries"),
]


def other(backend):
    skip = pytest.mark.skipif(not is_installed(backend), reason=f"{backend} is not installed")
    return pytest.param(backend, marks=[pytest.mark.slow, skip])


BACKENDS = ["auto", "pyav", other("opencv"), other("decord"), other("torchcodec")]


def decode_in_a_row(name, wanted):
    with av.open(str(FOLDER / name), metadata_errors="ignore") as container:
        frames = []
        for packet in container.demux(video=0):
            with contextlib.suppress(av.error.InvalidDataError):
                frames += packet.decode()
        images = [frames[i].to_ndarray(format="rgb24") for i in wanted]
        return np.rot90(np.stack(images), round(frames[0].rotation / 90), axes=(1, 2))


def test_every_file_is_expected():
    names = {path.name for path in FOLDER.iterdir()}
    assert names == {*NUM_FRAMES, *REFUSED, *DAMAGED}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NUM_FRAMES)
def test_the_right_frames_come_out(name, backend):
    total = NUM_FRAMES[name]
    wanted = sorted({0, total // 3, total // 2, total - 1})
    with open_video(FOLDER / name, backend=backend) as reader:
        assert reader.num_frames == total
        reason = REFUSED_BY.get(backend, {}).get(name)
        if reason is not None:
            with pytest.raises(UnreadableVideoError, match=name) as caught:
                reader.read(wanted)
            assert caught.value.reason == reason
            return
        images = reader.read(wanted[::-1])[::-1]
    expected = decode_in_a_row(name, wanted)
    assert images.shape == expected.shape
    if backend in ("auto", "pyav"):
        np.testing.assert_array_equal(images, expected)
    differences = np.abs(images.astype(int) - expected).mean(axis=(1, 2, 3))
    assert differences.max() < MAX_DIFFERENCE


@pytest.mark.parametrize("backend", ["auto", "pyav", "opencv", "decord"])
@pytest.mark.parametrize("name", REFUSED)
def test_files_that_are_refused(name, backend):
    with pytest.raises(UnreadableVideoError, match=name) as caught:
        open_video(FOLDER / name, backend=backend)
    assert caught.value.reason == REFUSED[name]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_give_what_is_whole(name, backend):
    first = DAMAGED[name]
    with open_video(FOLDER / name, backend=backend) as reader:
        with pytest.raises(UnreadableVideoError, match=name) as caught:
            reader.read([0, first])
        assert caught.value.reason == "corrupt"
        # The others read ahead, or give up somewhat earlier.
        good = first - 1 if backend in ("auto", "pyav") else first // 2
        if backend != "decord":
            assert len(reader.read([0, good])) == 2
