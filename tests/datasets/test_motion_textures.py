import cv2
import numpy as np
import pytest

from amflow_mm.datasets.motion_textures import FAMILIES, TEXTURE_IDS, render_texture

SIDE = 62


def test_splits_share_no_texture():
    assert set(TEXTURE_IDS) == {"train", "val"}
    assert not set(TEXTURE_IDS["train"]) & set(TEXTURE_IDS["val"])


@pytest.mark.parametrize("role", ["object", "background"])
def test_number_alone_fixes_the_texture(role):
    first = render_texture(17, role, SIDE, unit=float(SIDE))
    np.testing.assert_array_equal(first, render_texture(17, role, SIDE, unit=float(SIDE)))
    assert np.abs(first - render_texture(18, role, SIDE, unit=float(SIDE))).mean() > 10
    assert first.shape == (SIDE, SIDE, 3)
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() <= 255


def test_roles_are_different_pictures():
    pictures = [
        render_texture(5, role, SIDE, unit=float(SIDE)) for role in ("object", "background")
    ]
    assert np.abs(pictures[0] - pictures[1]).mean() > 10


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__.strip("_"))
def test_family_fills_its_range(family):
    pattern = family(np.random.default_rng(0), SIDE, SIDE / 4)
    assert pattern.shape == (SIDE, SIDE)
    assert pattern.min() >= 0
    assert pattern.max() <= 1
    assert np.ptp(pattern) > 0.5


def test_every_object_texture_shows_a_rotation():
    middle = ((SIDE - 1) / 2,) * 2
    inside = np.hypot(*(np.mgrid[:SIDE, :SIDE] - middle[0])) < SIDE / 2 - 1
    for texture_id in (*range(40), *range(5000, 5040)):
        picture = render_texture(texture_id, "object", SIDE, unit=float(SIDE))
        for degrees in (20, 90, 180):
            turn = cv2.getRotationMatrix2D(middle, degrees, 1.0)
            turned = cv2.warpAffine(picture, turn, (SIDE, SIDE))
            assert np.abs(turned - picture)[inside].mean() > 6, (texture_id, degrees)
