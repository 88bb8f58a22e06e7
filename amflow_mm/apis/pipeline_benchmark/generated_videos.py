"""Generated videos that cost as much to decode as those of Kinetics: texture, motion, noise.

What decoding costs is decided by size, bit rate, reference frames and the distance of key frames.
A camera drifts over a scene of many scales while textured objects cross it, each frame has the
noise of a sensor, and x264's defaults encode it, so that the bit rate is that of real videos of
this size. The data set of motion clips would not do: it is encoded for cheap access.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.progress import track

NUM_OBJECTS = 6
NOISE_LEVEL = 3.0
"""Standard deviation of the sensor's noise in grey levels; sets the bit rate."""

ENCODER_OPTIONS = {"preset": "medium", "crf": "23", "threads": "1"}
"""x264's own defaults, hence 3 B-frames that others refer to and 3 reference frames."""


@dataclass(frozen=True)
class VideoShape:
    """What all generated videos of a set have in common.

    Attributes:
        gop_size: Frames from one key frame to the next.
        seconds: Length.
        fps: Frames per second.
        height: In pixels, even.
        width: In pixels, even.
    """

    gop_size: int = 250
    seconds: float = 10.0
    fps: int = 30
    height: int = 256
    width: int = 340

    def __post_init__(self) -> None:
        if self.gop_size < 1 or self.num_frames < 1:
            raise ValueError(
                f"gop_size={self.gop_size} and seconds * fps={self.num_frames} must be >= 1"
            )
        if self.height % 2 or self.width % 2:
            raise ValueError(
                f"height={self.height} and width={self.width} must be even: yuv420p stores colour "
                "at half the resolution"
            )

    @property
    def num_frames(self) -> int:
        """Frames of a video."""
        return round(self.seconds * self.fps)


def generate_videos(folder: str | os.PathLike[str], shape: VideoShape, *, count: int) -> list[Path]:
    """Write videos ``0 … count - 1`` of a shape; those that are there already are kept.

    Args:
        folder: Gets a folder for each shape.
        shape: Of all videos.
        count: How many.
    """
    home = Path(folder) / f"gop{shape.gop_size}-{_digest(shape)}"
    paths = [home / f"{number:04d}.mp4" for number in range(count)]
    missing = [(number, path) for number, path in enumerate(paths) if not path.exists()]
    for number, path in track(missing, description=f"videos of GOP {shape.gop_size}"):
        with atomic_path(path) as partial:
            _encode(partial, scene_frames(shape, seed=number), shape)
    return paths


def scene_frames(shape: VideoShape, *, seed: int) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """Render a scene, RGB, one frame at a time.

    Args:
        shape: Size and number of the frames.
        seed: Of scene, motion and noise.
    """
    rng = np.random.default_rng(seed)
    side = 2 * max(shape.height, shape.width)
    scenery = _texture(rng, side)
    objects = [_Object.draw(rng, shape) for _ in range(NUM_OBJECTS)]
    noise = rng.normal(0, NOISE_LEVEL, (side, side, 3)).astype(np.float32)
    drift, phase = rng.uniform(0.1, 0.25, 2), rng.uniform(0, 2 * np.pi, 2)
    for index in range(shape.num_frames):
        time = index / shape.fps
        # The view of the camera swings over the middle of the scenery.
        left, top = side * (0.25 + 0.12 * np.sin(2 * np.pi * drift * time + phase))
        frame = _window(scenery, left, top, shape)
        for thing in objects:
            thing.paint(frame, time)
        row, column = rng.integers(0, (side - shape.height, side - shape.width))
        frame += noise[row : row + shape.height, column : column + shape.width]
        yield np.clip(frame, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Object:
    """A textured disc that crosses the picture again and again."""

    texture: Float32[np.ndarray, "side side 3"]
    start: Float32[np.ndarray, " 2"]
    speed: Float32[np.ndarray, " 2"]

    @classmethod
    def draw(cls, rng: np.random.Generator, shape: VideoShape) -> "_Object":
        """Choose look and motion."""
        side = int(min(shape.height, shape.width) * rng.uniform(0.2, 0.4))
        size = np.array([shape.width, shape.height], np.float32)
        speed = rng.uniform(-0.5, 0.5, 2).astype(np.float32) * size
        return cls(_texture(rng, side), rng.random(2, np.float32) * size, speed)

    def paint(self, frame: Float32[np.ndarray, "height width 3"], time: float) -> None:
        """Paint the disc into the frame at its place of the moment; parts outside are cut off."""
        side, (height, width) = len(self.texture), frame.shape[:2]
        place = np.mod(self.start + self.speed * time, (width + side, height + side)) - side
        move = np.float32([[1, 0, place[0]], [0, 1, place[1]]])
        disc = np.zeros((side, side), np.float32)
        cv2.circle(disc, (side // 2, side // 2), side // 2 - 1, 1.0, -1, cv2.LINE_AA)
        cover = cv2.warpAffine(disc, move, (width, height))[..., None]
        picture = cv2.warpAffine(self.texture, move, (width, height))
        frame += (picture - frame) * cover


def _texture(rng: np.random.Generator, side: int) -> Float32[np.ndarray, "side side 3"]:
    """Draw noise of all scales, the coarser the stronger, as pictures of nature have it."""
    picture = np.full((side, side, 3), 128, np.float32)
    cells = 2
    while cells < side:
        octave = rng.normal(0, 1, (cells, cells, 3)).astype(np.float32)
        octave = octave.mean(axis=2, keepdims=True) + 0.3 * octave  # colours vary less than light
        picture += 60 / cells**0.3 * cv2.resize(octave, (side, side))
        cells *= 2
    return picture


def _window(
    scenery: Float32[np.ndarray, "side side 3"], left: float, top: float, shape: VideoShape
) -> Float32[np.ndarray, "height width 3"]:
    """Cut the camera's view out, between pixels."""
    move = np.float32([[1, 0, -left], [0, 1, -top]])
    return cv2.warpAffine(scenery, move, (shape.width, shape.height), borderMode=cv2.BORDER_REFLECT)


def _encode(
    path: Path, frames: Iterator[UInt8[np.ndarray, "height width 3"]], shape: VideoShape
) -> None:
    with av.open(path, mode="w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(shape.fps), options=ENCODER_OPTIONS)
        stream.height, stream.width, stream.pix_fmt = shape.height, shape.width, "yuv420p"
        stream.gop_size = shape.gop_size
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def _digest(shape: VideoShape) -> str:
    content = [asdict(shape), ENCODER_OPTIONS, NOISE_LEVEL, NUM_OBJECTS]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
