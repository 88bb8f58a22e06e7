"""Synthetic motion clips with known truth, in which appearance says nothing about the class.

Eight classes of motion of a textured object on a textured background. How the classes are kept
apart by time alone is told in `motion_scene`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from amflow_mm.datasets.motion_render import (
    SUPERSAMPLING,
    Difficulty,
    Stage,
    canvas_margin,
    place_sprite,
    render_canvas,
    render_frames,
    render_sprite,
    sample_light,
)
from amflow_mm.datasets.motion_scene import (
    DIAMETER,
    MOTION_CLASSES,
    CameraMode,
    ObjectTrack,
    camera_path,
    from_first_frame,
    object_channels,
    sample_scene,
    view_track,
)
from amflow_mm.datasets.motion_textures import TEXTURE_IDS

SPLITS: tuple[str, ...] = tuple(TEXTURE_IDS)
DIFFICULTIES: tuple[str, ...] = ("easy", "cluttered")
CAMERAS: tuple[str, ...] = ("static", "moving")

NUM_DISTRACTORS = (2, 4)
NOISE = (0.5, 2.5)


@dataclass(frozen=True)
class MotionClip:
    """A clip and the truth about it.

    Attributes:
        frames: uint8 `[T size size 3]`, RGB.
        masks: bool `[T size size]`, the moving object.
        camera: float32 `[T 2 3]`, affine maps of pixels (x, y) of the first frame to frame t.
        state: the object in each frame.
        texture_ids: numbers of all textures in the clip: object, background, distractors.
    """

    frames: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    camera: NDArray[np.float32]
    state: ObjectTrack
    texture_ids: tuple[int, ...]


def generate_clip(
    class_name: str,
    split: str,
    index: int,
    *,
    seed: int = 0,
    difficulty: Difficulty = "easy",
    camera: CameraMode = "static",
    num_frames: int = 16,
    size: int = 112,
) -> MotionClip:
    """Generate one clip; the same arguments give the same clip.

    Args:
        class_name: one of `MOTION_CLASSES`.
        split: `train` or `val`; the two share no texture, under any seed.
        index: number of the clip in its class and split.
        seed: of the data set.
        difficulty: `easy` is a strongly contrasted object on a faint background; `cluttered` adds
            a strong background and objects that stand still.
        camera: `moving` pans, zooms or rolls the whole scene.
        num_frames: frames of the clip, at least 2. More frames sample the same motion finer.
        size: height and width, pixels, even and at least 32.
    """
    _check_choice("class_name", class_name, MOTION_CLASSES)
    _check_choice("split", split, SPLITS)
    if index < 0:
        raise ValueError(f"index={index} must be >= 0: it counts the clips of a class")
    check_options(seed=seed, difficulty=difficulty, camera=camera, num_frames=num_frames, size=size)
    stream = [seed, SPLITS.index(split), MOTION_CLASSES.index(class_name), index]
    scene_rng, look_rng, noise_rng = np.random.default_rng(stream).spawn(3)
    scene = sample_scene(scene_rng, camera=camera, num_frames=num_frames, size=size)
    cameras = camera_path(scene, num_frames, size)
    track = view_track(object_channels(scene, class_name, num_frames), cameras)

    ids = look_rng.choice(TEXTURE_IDS[split], 2 + NUM_DISTRACTORS[1], replace=False).tolist()
    sprite = render_sprite(look_rng, ids[0])
    canvas = render_canvas(look_rng, ids[1], difficulty=difficulty, size=size)
    light = sample_light(look_rng, size)
    noise = look_rng.uniform(*NOISE)
    shown = 2
    if difficulty == "cluttered":
        shown += look_rng.integers(NUM_DISTRACTORS[0], NUM_DISTRACTORS[1] + 1)
        _place_distractors(look_rng, canvas, ids[2:shown], size)
    frames, masks = render_frames(
        Stage(canvas, light, noise), sprite, track, cameras, rng=noise_rng
    )
    return MotionClip(frames, masks, from_first_frame(cameras), track, tuple(ids[:shown]))


def _place_distractors(
    rng: np.random.Generator, canvas: NDArray[np.uint8], ids: list[int], size: int
) -> None:
    """Paint objects that stand still into the background, in place."""
    for texture_id in ids:
        center = canvas_margin(size) + rng.uniform(0.05, 0.95, 2) * size
        place_sprite(
            render_sprite(rng, texture_id),
            canvas,
            center=SUPERSAMPLING * center,
            diameter=SUPERSAMPLING * size * rng.uniform(*DIAMETER),
            angle=rng.uniform(0, 360),
        )


def check_options(*, seed: int, difficulty: str, camera: str, num_frames: int, size: int) -> None:
    """Raise ValueError for options that no clip can be made from."""
    _check_choice("difficulty", difficulty, DIFFICULTIES)
    _check_choice("camera", camera, CAMERAS)
    if seed < 0:
        raise ValueError(f"seed={seed} must be >= 0: it seeds numpy's generators")
    if num_frames < 2:
        raise ValueError(f"num_frames={num_frames} must be >= 2: one frame shows no motion")
    if size < 32 or size % 2:
        raise ValueError(
            f"size={size} must be even and >= 32: the video codec needs even sides, "
            "and a smaller object shows no texture"
        )


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(allowed)}")
