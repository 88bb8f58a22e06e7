"""What happens in a motion clip: nuisance parameters, the object's track and the camera's.

The rule that makes the clips a test of motion and of nothing else: **every** clip owns a sweep of
each of four channels (x, y, log size, angle), drawn from one distribution. The class only says
which sweep is played in time, forwards or backwards; the other three stand still at a random
moment of theirs. So, with a static camera,

- a frame drawn at random has the same distribution of place, size and angle in all classes;
- opposite classes (left and right, approach and recede, ...) hold the same set of frames in
  opposite order.

What is left without the order is how the frames of one clip differ from each other: a reader of
several frames may tell the axis (left or right against up or down) but never the direction, so its
ceiling is one half. A linear reader of mean features stays at chance.

The camera's path is drawn without regard to the class, is symmetric about the middle of the clip
and of random sign. So with a moving camera the second statement still holds (the camera runs
backwards too), and the first holds
on average over the camera's signs (means and variances; not every higher moment).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

CameraMode = Literal["static", "moving"]

MOTION_CLASSES: tuple[str, ...] = (
    "left",
    "right",
    "up",
    "down",
    "approach",
    "recede",
    "clockwise",
    "counter_clockwise",
)

# Channels of a track. Pixel axes: x to the right, y downwards, so a growing angle is clockwise.
X, Y, LOG_SIZE, ANGLE = range(4)

# Which channel the class plays, and in which direction.
_LIVE_CHANNEL: dict[str, tuple[int, int]] = {
    "left": (X, -1),
    "right": (X, +1),
    "up": (Y, -1),
    "down": (Y, +1),
    "approach": (LOG_SIZE, +1),
    "recede": (LOG_SIZE, -1),
    "clockwise": (ANGLE, +1),
    "counter_clockwise": (ANGLE, -1),
}

# Sweeps over a whole clip. Lengths are fractions of the frame's side: at 112 pixels and 16 frames
# an object travels 4 to 7 pixels, turns 20 to 40 degrees in an interval of two frames.
TRAVEL = (0.30, 0.45)
TURN_DEGREES = (150.0, 300.0)
SIZE_RATIO = (1.8, 2.4)
# Diameter of the disc of the object's area: every size sweep stays in this range.
DIAMETER = (0.17, 0.42)
# The object turns like the hand of a clock, about a pivot this far from its centre.
ARM = (0.18, 0.26)
# How far an object may reach beyond the frame at the ends of its travel, in diameters.
OVERHANG = 0.15

PAN = (0.15, 0.35)
CAMERA_ZOOM_RATIO = (1.25, 1.6)
ROLL_DEGREES = (15.0, 45.0)


@dataclass(frozen=True)
class ObjectTrack:
    """Where the object is in each frame, in that frame's pixels.

    Attributes:
        center: float32 `[T 2]`, x and y of the centroid, pixels.
        diameter: float32 `[T]`, of the disc of the same area, pixels.
        angle: float32 `[T]`, degrees, clockwise.
    """

    center: NDArray[np.float32]
    diameter: NDArray[np.float32]
    angle: NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """Nuisance parameters of a clip: nothing here depends on the class.

    Attributes:
        middle: the four channels at mid-sweep: pivot in pixels, log pixels, degrees.
        sweep: extent of the four sweeps over the whole clip, signed by the class only.
        arm: distance of the object's centre from the pivot, in the direction of the angle, pixels.
        still: for each channel the frame number at which it stands while it is not played.
        camera_kind: `static`, `pan`, `zoom` or `roll`.
        camera_motion: pan in x and y over the whole clip (pixels), log zoom, roll (radians).
    """

    middle: NDArray[np.float64]
    sweep: NDArray[np.float64]
    arm: float
    still: NDArray[np.int64]
    camera_kind: str
    camera_motion: NDArray[np.float64]


def sample_scene(
    rng: np.random.Generator, *, camera: CameraMode, num_frames: int, size: int
) -> Scene:
    """Draw the nuisance parameters of a clip."""
    ratio = np.log(rng.uniform(*SIZE_RATIO))
    travel = size * rng.uniform(*TRAVEL, 2)
    turn = rng.uniform(*TURN_DEGREES)
    smallest, largest = np.log(size * np.array(DIAMETER))
    log_size = rng.uniform(smallest + ratio / 2, largest - ratio / 2)
    reach = np.exp(log_size + ratio / 2) * (0.5 - OVERHANG)
    arm = size * rng.uniform(*ARM)
    room = np.maximum(size / 2 - reach - arm - travel / 2, 0)
    center = (size - 1) / 2 + rng.uniform(-room, room)
    still = rng.integers(num_frames, size=4)
    camera_kind, camera_motion = _sample_camera(rng, camera, size)
    return Scene(
        middle=np.array([*center, log_size, rng.uniform(0, 360)]),
        sweep=np.array([*travel, ratio, turn]),
        arm=arm,
        still=still,
        camera_kind=camera_kind,
        camera_motion=camera_motion,
    )


def object_channels(scene: Scene, class_name: str, num_frames: int) -> NDArray[np.float64]:
    """The four channels in each frame, `[T 4]`, before the camera: place is the object's centre."""
    ramp = clip_times(num_frames)
    times = np.broadcast_to(ramp[scene.still], (num_frames, 4)).copy()
    channel, direction = _LIVE_CHANNEL[class_name]
    times[:, channel] = direction * ramp
    channels = scene.middle + scene.sweep * times
    angle = np.radians(channels[:, ANGLE])
    channels[:, X] += scene.arm * np.cos(angle)
    channels[:, Y] += scene.arm * np.sin(angle)
    return channels


def camera_path(scene: Scene, num_frames: int, size: int) -> NDArray[np.float64]:
    """Affine matrices `[T 2 3]` from the scene (the camera at mid-clip) to each frame."""
    pan_x, pan_y, log_zoom, roll = scene.camera_motion
    middle = (size - 1) / 2
    matrices = np.empty((num_frames, 2, 3))
    for matrix, time in zip(matrices, clip_times(num_frames), strict=True):
        scale = np.exp(time * log_zoom)
        cos, sin = scale * np.cos(time * roll), scale * np.sin(time * roll)
        matrix[:, :2] = [[cos, -sin], [sin, cos]]
        matrix[:, 2] = middle - matrix[:, :2] @ [middle, middle] + time * np.array([pan_x, pan_y])
    return matrices


def view_track(channels: NDArray[np.float64], cameras: NDArray[np.float64]) -> ObjectTrack:
    """What the camera sees of the object's channels `[T 4]`."""
    linear = cameras[:, :, :2]
    center = np.einsum("tij,tj->ti", linear, channels[:, :2]) + cameras[:, :, 2]
    zoom = np.sqrt(np.linalg.det(linear))
    roll = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    return ObjectTrack(
        center=center.astype(np.float32),
        diameter=(np.exp(channels[:, LOG_SIZE]) * zoom).astype(np.float32),
        angle=(channels[:, ANGLE] + roll).astype(np.float32),
    )


def from_first_frame(cameras: NDArray[np.float64]) -> NDArray[np.float32]:
    """Re-base camera matrices: `[T 2 3]`, first frame to frame t; the first is the identity."""
    full = np.tile(np.eye(3), (len(cameras), 1, 1))
    full[:, :2] = cameras
    return (full @ np.linalg.inv(full[0]))[:, :2].astype(np.float32)


def clip_times(num_frames: int) -> NDArray[np.float64]:
    """Time of each frame, -0.5 to 0.5 over the clip, symmetric about its middle."""
    return np.linspace(-0.5, 0.5, num_frames)


def _sample_camera(
    rng: np.random.Generator, camera: CameraMode, size: int
) -> tuple[str, NDArray[np.float64]]:
    # Every number is drawn in every case: the same seed gives the same object for both cameras.
    kind = ("pan", "zoom", "roll")[rng.integers(3)]
    sign = rng.choice([-1.0, 1.0])
    pan, direction = size * rng.uniform(*PAN), rng.uniform(0, 2 * np.pi)
    log_zoom = sign * np.log(rng.uniform(*CAMERA_ZOOM_RATIO))
    roll = sign * np.radians(rng.uniform(*ROLL_DEGREES))
    motion = np.zeros(4)
    if camera == "static":
        return camera, motion
    if kind == "pan":
        motion[:2] = pan * np.cos(direction), pan * np.sin(direction)
    elif kind == "zoom":
        motion[2] = log_zoom
    else:
        motion[3] = roll
    return kind, motion
