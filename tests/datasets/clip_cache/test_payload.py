"""Clips to bytes and back."""

import numpy as np
import pytest

from amflow_mm.datasets.clip_cache import Clip, ClipEncoding
from amflow_mm.datasets.clip_cache.values import pack_value, unpack_value


def smooth_frames(num=3, height=40, width=56):
    """A picture that moves: waves of different colours."""
    y, x = np.mgrid[:height, :width] / 9.0
    waves = [np.stack([np.sin(x + t), np.cos(y - t), np.sin(x - y)], axis=-1) for t in range(num)]
    return [(127 + 120 * wave).astype(np.uint8) for wave in waves]


def round_trip(encoding, clip):
    parts = encoding.encode(clip)
    payload = np.frombuffer(b"".join(parts), dtype=np.uint8)
    return encoding.decode(payload), encoding.as_read(clip, parts)


def psnr(found, expected):
    error = np.mean((np.array(found, dtype=float) - np.array(expected)) ** 2)
    return 10 * np.log10(255**2 / error)


@pytest.mark.parametrize(("name", "quality"), [("raw", 90), ("jpeg", 90), ("jpeg", 30)])
def test_what_is_read_later_is_what_was_returned_first(name, quality):
    clip = Clip(smooth_frames(), {"num_clips": 2, "img_shape": (40, 56)}, ["video"])
    later, first = round_trip(ClipEncoding(name, quality), clip)
    assert np.array_equal(later.frames, first.frames)
    assert (later.values, later.removed) == (clip.values, clip.removed)
    assert (first.values, first.removed) == (clip.values, clip.removed)


def test_raw_keeps_every_bit():
    clip = Clip(smooth_frames(), {}, [])
    later, _ = round_trip(ClipEncoding("raw", 90), clip)
    assert np.array_equal(later.frames, clip.frames)


def test_jpeg_keeps_colours_and_their_order():
    clip = Clip(smooth_frames(), {}, [])
    found = {q: round_trip(ClipEncoding("jpeg", q), clip)[0].frames for q in (30, 90)}
    assert psnr(found[90], clip.frames) > 40  # with halved colour, or red for blue, it is not
    assert psnr(found[30], clip.frames) < psnr(found[90], clip.frames)


def test_better_quality_takes_more_bytes_and_raw_the_most():
    clip = Clip(smooth_frames(), {}, [])
    encodings = [ClipEncoding("jpeg", 30), ClipEncoding("jpeg", 90), ClipEncoding("raw", 90)]
    sizes = [sum(map(len, encoding.encode(clip))) for encoding in encodings]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize("name", ["raw", "jpeg"])
def test_views_of_larger_frames_are_encoded(name):
    frames = smooth_frames()
    views = [frame[3:17, 5:40][:, ::-1] for frame in frames]
    clips = [Clip(views, {}, []), Clip([view.copy() for view in views], {}, [])]
    encoding = ClipEncoding(name, 90)
    assert b"".join(encoding.encode(clips[0])) == b"".join(encoding.encode(clips[1]))


def test_the_quality_is_no_part_of_the_raw_recipe():
    assert ClipEncoding("raw", 1).recipe() == ClipEncoding("raw", 2).recipe()
    assert ClipEncoding("jpeg", 1).recipe() != ClipEncoding("jpeg", 2).recipe()


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, -0.1, "text", b"\0\xff", [], (), {}, [1, (2, [3])], {"a": {1: (None,)}},
        np.int64(2**62), np.float32(0.1), np.bool_(True), np.zeros((0, 4)), np.array(3),
        np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([np.inf, 0.1], np.float16),
    ],
    ids=repr,
)  # fmt: skip
def test_values_come_back_with_their_types(value):
    found = unpack_value(pack_value(value, "value"))
    assert type(found) is type(value)
    assert np.array_equal(found, value) if isinstance(value, np.ndarray) else found == value
    if isinstance(value, np.ndarray | np.generic):
        assert (found.dtype, found.shape) == (value.dtype, value.shape)


@pytest.mark.parametrize(
    "value",
    [object(), {1, 2}, np.array(["a"]), np.array([None]), 1j],
    ids=["object", "set", "text", "objects", "complex"],
)
def test_other_values_raise(value):
    with pytest.raises(
        ValueError, match=r"results\['x'\] is a \w+, which a clip cache cannot keep"
    ):
        pack_value([value], "results['x']")
