"""Library of textures for the motion clips, disjoint between the training and validation splits.

A texture is a number. The number alone fixes family, colours, scale and phase, whatever the seed
of the data set, so two splits that draw from disjoint number ranges share no texture.
"""

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float32]
Role = Literal["object", "background"]

# Half-open ranges of texture numbers; the test suite holds them disjoint.
TEXTURE_IDS: dict[str, range] = {"train": range(4096), "val": range(4096, 8192)}

_ROLE_STREAM: dict[str, int] = {"object": 1, "background": 2}


def render_texture(texture_id: int, role: Role, side: int, *, unit: float) -> FloatImage:
    """Render a texture as a colour picture.

    Args:
        texture_id: number in the library.
        role: `object` gives saturated light-against-dark colours and an off-centre mark, so that
            a rotation shows; `background` gives colours of middling brightness.
        side: height and width of the picture, pixels.
        unit: pixels of the length that the pattern's scale refers to: the object's diameter, or
            the frame's side.

    Returns:
        Float32 `[side side 3]`, RGB, 0..255.
    """
    rng = np.random.default_rng([_ROLE_STREAM[role], texture_id])
    family = FAMILIES[rng.integers(len(FAMILIES))]
    low, high = (0.45, 1.0) if role == "object" else (0.10, 0.32)
    period = unit * rng.uniform(low, high)
    pattern = family(rng, side, period)[..., None]
    first, second = _colours(rng, role)
    picture = first + (second - first) * pattern
    if role == "object":
        picture = _add_mark(picture, rng, unit)
    return picture


def _colours(rng: np.random.Generator, role: Role) -> tuple[FloatImage, FloatImage]:
    """Two colours, light and dark in random order: far apart for objects, less for backgrounds."""
    if role == "object":
        light = _colour(rng, value=(225.0, 255.0), saturation=(0.0, 0.7))
        dark = _colour(rng, value=(5.0, 70.0), saturation=(0.2, 1.0))
    else:
        light = _colour(rng, value=(150.0, 225.0), saturation=(0.0, 0.6))
        dark = _colour(rng, value=(40.0, 130.0), saturation=(0.2, 1.0))
    return (light, dark) if rng.random() < 0.5 else (dark, light)


def _colour(
    rng: np.random.Generator, *, value: tuple[float, float], saturation: tuple[float, float]
) -> NDArray[np.float32]:
    """One RGB colour, 0..255, of random hue."""
    peak, depth, hue = rng.uniform(*value), rng.uniform(*saturation), rng.uniform(0, 6)
    # The hexagon of hues: each channel is a clipped triangle wave of the hue.
    wave = np.clip(np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return (peak * (1 - depth * (1 - wave))).astype(np.float32)


def _add_mark(picture: FloatImage, rng: np.random.Generator, unit: float) -> FloatImage:
    """Paint a spot off the centre: it makes any outline and any pattern show its rotation."""
    colour = _colour(rng, value=(150.0, 255.0), saturation=(0.7, 1.0))
    direction = rng.uniform(0, 2 * np.pi)
    distance, radius = unit * rng.uniform(0.22, 0.30), unit * rng.uniform(0.13, 0.19)
    offset = distance * np.array([np.cos(direction), np.sin(direction)])
    inside = np.clip(radius - _radius(len(picture), (len(picture) - 1) / 2 + offset) + 0.5, 0, 1)
    inside = inside[..., None]
    return picture + (colour - picture) * inside


# The families. Each maps (rng, side, period in pixels) to a [side side] map in 0..1.


def _grid(side: int) -> tuple[FloatImage, FloatImage]:
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    return x, y


def _radius(side: int, centre: NDArray[np.float64]) -> FloatImage:
    """Distance of each pixel from a point (x, y)."""
    x, y = _grid(side)
    return np.hypot(x - np.float32(centre[0]), y - np.float32(centre[1]))


def _rotated_phases(
    rng: np.random.Generator, side: int, period: float
) -> tuple[FloatImage, FloatImage]:
    """Two orthogonal phases in radians, of random direction and origin."""
    x, y = _grid(side)
    angle, shift = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi, 2)
    cos, sin, scale = np.cos(angle), np.sin(angle), 2 * np.pi / period
    first = (x * cos + y * sin) * scale + shift[0]
    second = (y * cos - x * sin) * scale + shift[1]
    return first.astype(np.float32), second.astype(np.float32)


def _harden(wave: FloatImage, gain: float) -> FloatImage:
    """Turn a wave in -1..1 into a map in 0..1 with edges that sharpen with the gain."""
    return 0.5 + 0.5 * np.clip(gain * wave, -1, 1)


def _stripes(rng: np.random.Generator, side: int, period: float) -> FloatImage:
    first, _ = _rotated_phases(rng, side, period)
    return _harden(np.sin(first), rng.uniform(1, 5))


def _waves(rng: np.random.Generator, side: int, period: float) -> FloatImage:
    first, second = _rotated_phases(rng, side, period)
    bend = rng.uniform(0.6, 1.6) * np.sin(second * rng.uniform(0.4, 0.8))
    return _harden(np.sin(first + bend), rng.uniform(1, 4))


def _checker(rng: np.random.Generator, side: int, period: float) -> FloatImage:
    first, second = _rotated_phases(rng, side, period * 1.2)
    return _harden(np.sin(first) * np.sin(second), rng.uniform(4, 10))


def _spots(rng: np.random.Generator, side: int, period: float) -> FloatImage:
    first, second = _rotated_phases(rng, side, period)
    return _harden(np.cos(first) + np.cos(second) - rng.uniform(0.2, 0.9), rng.uniform(2, 5))


def _rings(rng: np.random.Generator, side: int, period: float) -> FloatImage:
    # Centred off the picture's middle, so that a rotation does not leave the rings as they are.
    radius = _radius(side, side * rng.uniform(0.1, 0.4, 2))
    phase = rng.uniform(0, 2 * np.pi)
    return _harden(np.sin(radius * (2 * np.pi / period) + phase), rng.uniform(1, 4))


def _clouds(rng: np.random.Generator, side: int, period: float) -> FloatImage:
    total = np.zeros((side, side), np.float32)
    for octave, weight in enumerate((1.0, 0.5, 0.3)):
        cells = int(np.ceil(side / period)) * 2**octave + 3
        lattice = rng.random((cells, cells), dtype=np.float32) - 0.5
        total += weight * cv2.resize(lattice, (side, side), interpolation=cv2.INTER_CUBIC)
    return _harden(total / max(float(np.abs(total).max()), 1e-6), 1.2)


def _blotches(rng: np.random.Generator, side: int, period: float) -> FloatImage:
    return _harden(2 * _clouds(rng, side, period) - 1, rng.uniform(4, 9))


def _cells(rng: np.random.Generator, side: int, period: float) -> FloatImage:
    count = int(np.clip((side / period) ** 2, 4, 400))
    seeds = rng.integers(0, side, (count, 2))
    away = np.ones((side, side), np.uint8)
    away[seeds[:, 0], seeds[:, 1]] = 0
    # Every pixel learns which seed is nearest: a Voronoi diagram in linear time.
    _, labels = cv2.distanceTransformWithLabels(
        away, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    return rng.random(labels.max() + 1, dtype=np.float32)[labels]


FAMILIES: tuple[Callable[[np.random.Generator, int, float], FloatImage], ...] = (
    _stripes,
    _waves,
    _checker,
    _spots,
    _rings,
    _clouds,
    _blotches,
    _cells,
)
