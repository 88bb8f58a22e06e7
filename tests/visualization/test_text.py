import numpy as np
import pytest

from amflow_mm.visualization.text import load_font, shorten, text_strip


def ink_columns(strip):
    return np.flatnonzero(strip.any(axis=(0, 2)))


@pytest.mark.parametrize("width", [40, 301])
def test_strip_has_the_width_asked_for_and_holds_ink(width):
    strip = text_strip("w = 1.0", width=width, size=12)
    assert strip.shape == (18, width, 3)
    assert strip.dtype == np.uint8
    assert strip.max() > 150


def test_alignment_moves_the_ink():
    left, centre, right = (
        ink_columns(text_strip("abc", width=200, size=12, align=align))
        for align in ("left", "centre", "right")
    )
    assert left.max() < 100 < right.min()
    assert abs((centre.min() + centre.max()) / 2 - 100) < 3
    assert len(left) == len(right)


def test_different_texts_look_different():
    assert (text_strip("1.0", width=60, size=12) != text_strip("2.0", width=60, size=12)).any()


def test_empty_text_is_black():
    assert not text_strip("", width=60, size=12).any()


def test_long_text_is_cut_visibly():
    text = "a long caption " * 9
    short = shorten(text, width=100, size=12)
    assert short.endswith("…")
    assert text.startswith(short[:-1])
    assert load_font(12).getlength(short) <= 100
    assert load_font(12).getlength(short[:-1] + text[len(short) - 1] + "…") > 100


def test_text_that_fits_is_not_cut():
    assert shorten("w", width=100, size=12) == "w"


@pytest.mark.usefixtures("own_checks_only")
def test_unknown_alignment_raises():
    with pytest.raises(ValueError, match="align='middle' is unknown; choose one of"):
        text_strip("w", width=60, size=12, align="middle")
