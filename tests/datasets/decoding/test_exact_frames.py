"""PyAV: reading by number gives to the bit what decoding in a row gives."""

import numpy as np
import pytest

from amflow_mm.datasets.decoding import open_video, packets
from tests.datasets.decoding.numbered_videos import (
    ENCODINGS,
    decode_in_a_row,
    read_numbers,
    write_numbered,
)


def assert_exact(path):
    reference = decode_in_a_row(path)
    assert read_numbers(reference) == list(range(len(reference)))
    rng = np.random.default_rng(0)
    with open_video(path, backend="pyav") as reader:
        assert reader.num_frames == len(reference)
        for _ in range(8):
            indices = rng.integers(0, len(reference), 6)
            np.testing.assert_array_equal(reader.read(indices), reference[indices])
        np.testing.assert_array_equal(reader.read(range(len(reference))), reference)


@pytest.mark.parametrize("name", ENCODINGS)
def test_random_access_is_exact(encoded, name):
    assert_exact(encoded(name))


@pytest.mark.parametrize("name", ["b_frames.mp4", "open_gop.mkv", "untimed.avi", "vp9.webm"])
def test_files_too_large_to_be_kept_are_read_again(encoded, name, monkeypatch):
    monkeypatch.setattr(packets, "MAX_HELD_BYTES", 0)
    assert_exact(encoded(name))


@pytest.mark.parametrize("num_threads", [2, 3])
def test_threads_change_nothing(encoded, num_threads):
    path = encoded("open_gop.mp4")
    indices = [31, 2, 17, 17, 39]
    with open_video(path, backend="pyav", num_threads=num_threads) as reader:
        np.testing.assert_array_equal(reader.read(indices), decode_in_a_row(path)[indices])


def test_frames_hidden_by_an_edit_list_do_not_count(tmp_path):
    path = write_numbered(tmp_path / "edited.mp4", times=range(-7, 33))
    with open_video(path, backend="pyav") as reader:
        assert reader.num_frames == 33
        assert read_numbers(reader.read([0, 20, 32])) == [7, 27, 39]


def test_odd_sizes(tmp_path):
    def widen(frame):
        return np.pad(frame, ((0, 1), (0, 1), (0, 0)), mode="edge")

    path = write_numbered(tmp_path / "odd.mp4", pix_fmt="yuv444p", edit=widen)
    with open_video(path, backend="pyav") as reader:
        assert (reader.height, reader.width) == (65, 97)
        assert reader.read([3]).shape == (1, 65, 97, 3)
        assert read_numbers(reader.read([30, 3])) == [30, 3]


def test_only_what_is_needed_is_decoded(encoded, monkeypatch):
    from amflow_mm.datasets.decoding.decoder import Decoder

    sent = []
    decode = Decoder.decode
    monkeypatch.setattr(
        Decoder, "decode", lambda self, packet: sent.append(packet) or decode(self, packet)
    )
    with open_video(encoded("b_frames.mp4"), backend="pyav") as reader:
        reader.read([25])
    # The key frame is number 24; of the packets behind it only those before frame 25's are sent.
    assert 2 <= sum(packet is not None for packet in sent) <= 6


def test_empty_request(video):
    with open_video(video) as reader:
        assert reader.read([]).shape == (0, 64, 96, 3)


@pytest.mark.parametrize("index", [-1, 40])
def test_frames_that_are_not_there(video, index):
    with (
        open_video(video) as reader,
        pytest.raises(IndexError, match=r"must be between 0 and 39: .* has 40 frames"),
    ):
        reader.read([0, index])
