"""Rendering of motion clips: outlines, sprites, light, noise, composition under a camera."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from amflow_mm.datasets.motion_scene import ObjectTrack
from amflow_mm.datasets.motion_textures import render_texture

Difficulty = Literal["easy", "cluttered"]
Bytes = NDArray[np.uint8]

# Everything is drawn at this multiple of the final resolution and averaged down, so that slow
# motion of edges is smooth and not a jump from pixel to pixel.
SUPERSAMPLING = 2
# The background reaches this far beyond each side of the frame, as a fraction of the side: more
# than any camera of motion_scene uncovers.
MARGIN = 0.24
SPRITE_SIDE = 128
# Half the sprite's side in radii of the disc of the same area. No outline reaches further.
SPRITE_REACH = 1.7

# Half the range of grey levels that the background keeps about its mean.
FAINT_CONTRAST = (6.0, 14.0)


@dataclass(frozen=True)
class Sprite:
    """A textured outline: RGB `[side side 3]` and coverage `[side side]`, both uint8."""

    colour: Bytes
    coverage: Bytes


@dataclass(frozen=True)
class Stage:
    """What does not move with the object.

    Attributes:
        canvas: uint8 RGB, supersampled, with a margin about the frame.
        light: float32 `[size size 1]`, gain of the light on each pixel of the frame.
        noise: standard deviation of the sensor's noise, grey levels.
    """

    canvas: Bytes
    light: NDArray[np.float32]
    noise: float


# --- outlines: [n 2] polygons of area pi with their centroid in the origin -----------------


def sample_outline(rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw an outline of random kind as a polygon with the unit disc's area and centroid."""
    kind = _OUTLINES[rng.integers(len(_OUTLINES))]
    return _normalised(kind(rng))


def _polar(radius: NDArray[np.float64]) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, len(radius), endpoint=False)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _disc(rng: np.random.Generator) -> NDArray[np.float64]:
    return _polar(np.ones(96)) * [1.0, rng.uniform(0.65, 1.0)]


def _box(rng: np.random.Generator) -> NDArray[np.float64]:
    return _polar(np.ones(4)) @ _TURN_45 * [1.0, rng.uniform(0.6, 1.0)]


def _polygon(rng: np.random.Generator) -> NDArray[np.float64]:
    corners = rng.integers(3, 8)
    return _polar(np.ones(corners) * rng.uniform(0.8, 1.2, corners))


def _star(rng: np.random.Generator) -> NDArray[np.float64]:
    points = rng.integers(4, 8)
    return _polar(np.tile([1.0, rng.uniform(0.45, 0.7)], points))


def _blob(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    radius = np.ones(96)
    for order in (2, 3, 4, 5):
        radius += rng.uniform(-0.3, 0.3) / (order - 1) * np.cos(order * angle + rng.uniform(0, 7))
    return _polar(np.clip(radius, 0.4, 1.6))


_TURN_45 = np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2)
_OUTLINES = (_disc, _box, _polygon, _star, _blob)


def _normalised(points: NDArray[np.float64]) -> NDArray[np.float64]:
    following = np.roll(points, -1, axis=0)
    cross = points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]
    area = cross.sum() / 2
    centroid = ((points + following) * cross[:, None]).sum(axis=0) / (6 * area)
    outline = (points - centroid) * np.sqrt(np.pi / abs(area))
    # A corner further out than the sprite would be cut: draw it in.
    reach = np.hypot(*outline.T)
    return outline * np.minimum(1, 0.97 * SPRITE_REACH / reach)[:, None]


# --- sprites and stages --------------------------------------------------------------------


def render_sprite(rng: np.random.Generator, texture_id: int) -> Sprite:
    """Draw a textured object of random outline."""
    unit = SPRITE_SIDE / (2 * SPRITE_REACH)
    points = sample_outline(rng) * unit + (SPRITE_SIDE - 1) / 2
    coverage = np.zeros((SPRITE_SIDE, SPRITE_SIDE), np.uint8)
    # fillPoly takes fixed-point corners: 8 fractional bits.
    cv2.fillPoly(coverage, [np.round(points * 256).astype(np.int32)], 255, cv2.LINE_AA, shift=8)
    colour = render_texture(texture_id, "object", SPRITE_SIDE, unit=2 * unit)
    return Sprite(_to_bytes(colour), coverage)


def render_canvas(
    rng: np.random.Generator, texture_id: int, *, difficulty: Difficulty, size: int
) -> Bytes:
    """Draw the background with its margin, supersampled: `[side side 3]`."""
    margin = canvas_margin(size)
    side = SUPERSAMPLING * (size + 2 * margin)
    picture = render_texture(texture_id, "background", side, unit=float(SUPERSAMPLING * size))
    faint, level = rng.uniform(*FAINT_CONTRAST), rng.uniform(95, 160)
    if difficulty == "easy":
        mean = picture.mean(axis=(0, 1))
        deviation = picture - mean
        picture = (mean - mean.mean()) * 0.3 + level + deviation * (faint / np.abs(deviation).max())
    return _to_bytes(picture)


def sample_light(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Draw the light: a random gain that falls off gently in a random direction."""
    gain, slope, angle = rng.uniform(0.7, 1.1), rng.uniform(0, 0.25), rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    field = gain * (1 + slope * (x * np.cos(angle) + y * np.sin(angle)))
    return field[..., None].astype(np.float32)


def canvas_margin(size: int) -> int:
    """Pixels of background beyond each side of the frame."""
    return int(np.ceil(MARGIN * size))


# --- composition ---------------------------------------------------------------------------


def place_sprite(
    sprite: Sprite, picture: Bytes, *, center: NDArray, diameter: float, angle: float
) -> NDArray[np.float32]:
    """Draw a sprite into an RGB picture, in place.

    Args:
        sprite: what to draw.
        picture: uint8 `[height width 3]`, changed.
        center: x and y of the centroid, pixels of the picture.
        diameter: of the disc of the same area, pixels of the picture.
        angle: degrees, clockwise.

    Returns:
        Float32 `[height width]`, how much of each pixel the sprite covers, 0..1.
    """
    alpha = np.zeros(picture.shape[:2], np.float32)
    rows, columns = _bounding_box(center, diameter * SPRITE_REACH / np.sqrt(2), picture)
    region, cover = picture[rows, columns], alpha[rows, columns]
    if not cover.size:
        return alpha
    scale = diameter * SPRITE_REACH / SPRITE_SIDE
    cos, sin = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    matrix = np.array([[cos, -sin, center[0] - columns.start], [sin, cos, center[1] - rows.start]])
    matrix[:, 2] -= matrix[:, :2] @ np.full(2, (SPRITE_SIDE - 1) / 2)
    area = cover.shape[::-1]
    colour = cv2.warpAffine(sprite.colour, matrix, area, borderMode=cv2.BORDER_REPLICATE)
    cover[...] = cv2.warpAffine(sprite.coverage, matrix, area)
    cover /= 255
    region[...] = np.round(region + (colour - region.astype(np.float32)) * cover[..., None])
    return alpha


def render_frames(
    stage: Stage,
    sprite: Sprite,
    track: ObjectTrack,
    cameras: NDArray[np.float64],
    *,
    rng: np.random.Generator,
) -> tuple[Bytes, NDArray[np.bool_]]:
    """Render all frames and the object's masks.

    Args:
        stage: background, light and noise.
        sprite: the moving object.
        track: the object in each frame.
        cameras: `[T 2 3]`, scene to frame.
        rng: source of the noise alone.

    Returns:
        Frames uint8 `[T size size 3]` and masks bool `[T size size]` (at least half covered).
    """
    size, num_frames = len(stage.light), len(cameras)
    frames = np.empty((num_frames, size, size, 3), np.uint8)
    masks = np.empty((num_frames, size, size), bool)
    for t in range(num_frames):
        picture = view_canvas(stage.canvas, cameras[t], size)
        alpha = place_sprite(
            sprite,
            picture,
            center=SUPERSAMPLING * track.center[t] + (SUPERSAMPLING - 1) / 2,
            diameter=SUPERSAMPLING * float(track.diameter[t]),
            angle=float(track.angle[t]),
        )
        small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
        grain = rng.standard_normal((size, size, 1), dtype=np.float32) * stage.noise
        frames[t] = _to_bytes(small * stage.light + grain)
        masks[t] = cv2.resize(alpha, (size, size), interpolation=cv2.INTER_AREA) >= 0.5
    return frames, masks


def view_canvas(canvas: Bytes, camera: NDArray[np.float64], size: int) -> Bytes:
    """What the camera (`[2 3]`, scene to frame) sees of the canvas, supersampled."""
    margin, side = canvas_margin(size), SUPERSAMPLING * size
    # Pixel centres: final x lies at s x + (s - 1) / 2 in the supersampled picture.
    offset = (SUPERSAMPLING - 1) / 2
    linear = camera[:, :2]
    shift = (
        SUPERSAMPLING * camera[:, 2] + offset - linear @ np.full(2, offset + SUPERSAMPLING * margin)
    )
    matrix = np.column_stack([linear, shift])
    return cv2.warpAffine(canvas, matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)


def _bounding_box(center: NDArray, reach: float, picture: Bytes) -> tuple[slice, slice]:
    """Rows and columns of the picture within reach of the centre, possibly none."""
    width_height = np.array(picture.shape[1::-1])
    low = np.clip(np.floor(center - reach).astype(int), 0, width_height)
    high = np.clip(np.ceil(center + reach).astype(int) + 1, low, width_height)
    (left, top), (right, bottom) = low, high
    return slice(int(top), int(bottom)), slice(int(left), int(right))


def _to_bytes(picture: NDArray[np.floating]) -> Bytes:
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)
