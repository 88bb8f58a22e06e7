from fractions import Fraction

import pytest

from amflow_mm.datasets.video_files.encode_options import EncodeOptions, choose_size


@pytest.mark.parametrize(
    ("stored", "aspect", "options", "expected"),
    [
        ((1280, 720), 1, {}, (456, 256)),
        ((720, 1280), 1, {}, (256, 456)),
        ((1280, 720), 1, {"short_side": 320}, (568, 320)),
        # Smaller videos stay as they are, odd sides lose a row, or grow when asked to.
        ((320, 240), 1, {}, (320, 240)),
        ((321, 241), 1, {}, (320, 240)),
        ((320, 240), 1, {"upscale": True}, (342, 256)),
        ((1, 1), 1, {}, (2, 2)),
        # Oblong pixels: PAL is shown 4 : 3, an image stored too tall loses nothing of its width.
        ((720, 576), Fraction(16, 15), {}, (342, 256)),
        ((720, 576), Fraction(16, 15), {"pixels": "stored"}, (320, 256)),
        ((340, 256), Fraction(1024, 765), {}, (456, 256)),
        ((352, 480), Fraction(1, 2), {"short_side": 176}, (176, 480)),
    ],
)
def test_size_of_the_result(stored, aspect, options, expected):
    assert choose_size(*stored, Fraction(aspect), EncodeOptions(**options)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"short_side": 255}, "short_side=255 must be even and >= 16"),
        ({"short_side": 8}, "short_side=8 must be even and >= 16"),
        ({"gop_size": 0}, "gop_size=0 must be >= 1"),
        ({"crf": 52}, "crf=52 must be within 0 ... 51"),
        ({"pixels": "round"}, "pixels='round' must be 'square' or 'stored'"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EncodeOptions(**options)
