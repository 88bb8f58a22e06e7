import cv2
import numpy as np
import pytest

from amflow_mm.datasets.motion_clips import CAMERAS, DIFFICULTIES, SPLITS, generate_clip
from amflow_mm.datasets.motion_render import (
    Stage,
    place_sprite,
    render_canvas,
    render_frames,
    render_sprite,
    sample_outline,
)
from amflow_mm.datasets.motion_scene import (
    MOTION_CLASSES,
    camera_path,
    object_channels,
    sample_scene,
    view_track,
)
from amflow_mm.datasets.motion_textures import TEXTURE_IDS

SIZE, NUM_FRAMES = 56, 5


def clip_of(name, index=0, *, split="train", **options):
    return generate_clip(name, split, index, size=SIZE, num_frames=NUM_FRAMES, **options)


def mask_centroid(mask):
    return np.argwhere(mask).mean(axis=0)[::-1]


def class_from_motion(clip):
    """Name the class by the motion relative to the camera, in units of the least sweep."""
    first, last = clip.masks[0], clip.masks[-1]
    linear, shift = clip.camera[-1, :, :2], clip.camera[-1, :, 2]
    zoom, roll = np.sqrt(np.linalg.det(linear)), np.arctan2(linear[1, 0], linear[0, 0])
    drift = np.linalg.solve(linear, mask_centroid(last) - shift) - mask_centroid(first)
    growth = np.log(last.sum() / first.sum()) / 2 - np.log(zoom)
    turn = clip.state.angle[-1] - clip.state.angle[0] - np.degrees(roll)
    # A turn swings the centre about the pivot, by up to two arms; it counts double.
    score = np.array([*drift / (0.30 * SIZE), growth / np.log(1.8), turn / 60])
    channel = np.abs(score).argmax()
    positive = ("right", "down", "approach", "clockwise")
    negative = ("left", "up", "recede", "counter_clockwise")
    return (positive if score[channel] > 0 else negative)[channel]


@pytest.mark.parametrize("camera", CAMERAS)
def test_motion_relative_to_the_camera_tells_every_class(camera):
    for name in MOTION_CLASSES:
        for index in range(8):
            assert class_from_motion(clip_of(name, index, camera=camera)) == name


@pytest.mark.parametrize(
    ("difficulty", "camera"), [("easy", "static"), ("cluttered", "static"), ("easy", "moving")]
)
def test_order_blind_statistics_are_at_chance(difficulty, camera):
    def describe(split, count):
        features = []
        for name in MOTION_CLASSES:
            for index in range(count):
                clip = generate_clip(
                    name, split, index, difficulty=difficulty, camera=camera, num_frames=3, size=34
                )
                frame, mask = clip.frames.mean(axis=0), clip.masks.mean(axis=0)
                colour = cv2.resize(frame, (3, 3), interpolation=cv2.INTER_AREA)
                place = cv2.resize(mask, (4, 4), interpolation=cv2.INTER_AREA)
                features.append([*colour.ravel(), *place.ravel(), frame.std(), mask.mean()])
        return np.array(features), np.repeat(np.arange(8), count)

    train, train_labels = describe("train", 12)
    val, val_labels = describe("val", 12)
    class_means = np.stack([train[train_labels == label].mean(axis=0) for label in range(8)])
    distance = np.linalg.norm((val[:, None] - class_means) / train.std(axis=0), axis=-1)
    accuracy = (distance.argmin(axis=1) == val_labels).mean()
    # Chance is 0.125 with a standard error of 0.034 on 96 clips.
    assert accuracy < 0.25


def test_opposite_classes_show_the_same_frames_in_reverse():
    rng = np.random.default_rng(3)
    scene = sample_scene(rng, camera="static", num_frames=NUM_FRAMES, size=SIZE)
    cameras = camera_path(scene, NUM_FRAMES, SIZE)
    canvas = render_canvas(rng, 2, difficulty="easy", size=SIZE)
    stage = Stage(canvas, light=np.ones((SIZE, SIZE, 1), np.float32), noise=0.0)
    sprite = render_sprite(rng, 1)
    frames = {}
    for name in MOTION_CLASSES:
        track = view_track(object_channels(scene, name, NUM_FRAMES), cameras)
        frames[name], _ = render_frames(stage, sprite, track, cameras, rng=rng)
    for first, second in zip(MOTION_CLASSES[::2], MOTION_CLASSES[1::2], strict=True):
        np.testing.assert_array_equal(frames[first], frames[second][::-1])
        assert (frames[first] != frames[second]).any()


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
def test_same_arguments_give_the_same_clip(difficulty):
    options = {"seed": 11, "difficulty": difficulty, "camera": "moving"}
    first, again = (clip_of("recede", 3, **options) for _ in range(2))
    np.testing.assert_array_equal(first.frames, again.frames)
    np.testing.assert_array_equal(first.masks, again.masks)
    np.testing.assert_array_equal(first.camera, again.camera)
    assert first.texture_ids == again.texture_ids


def test_every_argument_changes_the_clip():
    base = clip_of("left", 0).frames
    for other in (
        clip_of("right", 0),
        clip_of("left", 1),
        clip_of("left", 0, split="val"),
        clip_of("left", 0, seed=1),
        clip_of("left", 0, difficulty="cluttered"),
        clip_of("left", 0, camera="moving"),
    ):
        assert (other.frames != base).mean() > 0.3


@pytest.mark.parametrize("split", SPLITS)
def test_textures_come_from_the_splits_own_range(split):
    for name in MOTION_CLASSES:
        easy = clip_of(name, split=split)
        cluttered = clip_of(name, split=split, difficulty="cluttered")
        assert len(easy.texture_ids) == 2
        assert 4 <= len(cluttered.texture_ids) <= 6
        assert set(easy.texture_ids + cluttered.texture_ids) <= set(TEXTURE_IDS[split])


def test_shapes_and_types_follow_the_arguments():
    clip = generate_clip("up", "train", 0, num_frames=3, size=34)
    assert clip.frames.shape == (3, 34, 34, 3)
    assert clip.frames.dtype == np.uint8
    assert clip.masks.shape == (3, 34, 34)
    assert clip.masks.dtype == bool
    assert clip.camera.shape == (3, 2, 3)
    assert clip.camera.dtype == np.float32
    assert clip.state.center.shape == (3, 2)
    assert clip.state.diameter.shape == clip.state.angle.shape == (3,)


def test_masks_agree_with_the_stated_place_and_size():
    for index in range(12):
        clip = generate_clip("approach", "train", index)
        for t, mask in enumerate(clip.masks):
            if mask[[0, -1]].any() or mask[:, [0, -1]].any():
                continue  # partly outside the frame
            np.testing.assert_allclose(mask_centroid(mask), clip.state.center[t], atol=0.7)
            disc = np.pi / 4 * clip.state.diameter[t] ** 2
            np.testing.assert_allclose(mask.sum(), disc, rtol=0.12)


def test_easy_object_stands_out_and_the_static_background_stands_still():
    for index in range(6):
        clip = generate_clip("right", "train", index, camera="static")
        never = ~cv2.dilate(clip.masks.any(axis=0).astype(np.uint8), np.ones((5, 5))).astype(bool)
        background = clip.frames[:, never].astype(float)
        # Only the sensor's noise (at most 2.5 grey levels) changes.
        assert background.std(axis=0).mean() < 3
        contrast = np.abs(clip.frames[0][clip.masks[0]] - background.mean(axis=(0, 1)))
        assert contrast.mean() > 40
        assert np.abs(background - background.mean(axis=(0, 1))).mean() < 20


def test_cluttered_background_has_more_contrast_than_the_easy_one():
    spread = {}
    for difficulty in DIFFICULTIES:
        clips = [clip_of("left", index, difficulty=difficulty) for index in range(6)]
        spread[difficulty] = np.mean([clip.frames[0][~clip.masks[0]].std() for clip in clips])
    assert spread["cluttered"] > 2 * spread["easy"]


@pytest.mark.parametrize("index", range(6))
def test_camera_matrices_carry_the_background_along(index):
    clip = generate_clip("down", "val", index, difficulty="cluttered", camera="moving")
    first, last = clip.frames[0], clip.frames[-1]
    hidden = (clip.masks[0] | clip.masks[-1]).astype(np.uint8)
    size = hidden.shape
    warped = cv2.warpAffine(first, clip.camera[-1], size)
    unseen = cv2.warpAffine(np.ones(size, np.uint8), clip.camera[-1], size) == 0
    unseen |= cv2.warpAffine(hidden, clip.camera[-1], size) > 0
    known = ~cv2.dilate((unseen | (hidden > 0)).astype(np.uint8), np.ones((7, 7))).astype(bool)
    assert known.mean() > 0.2
    # Light belongs to the lens and does not move with the scene: compare the centred pictures.
    moved = np.abs(warped.astype(float) - last)[known].mean()
    stayed = np.abs(first.astype(float) - last)[known].mean()
    assert moved < 12
    assert moved < 0.6 * stayed


def test_outlines_have_unit_area_and_no_offset():
    rng = np.random.default_rng(0)
    for _ in range(60):
        points = sample_outline(rng).astype(np.float32)
        moments = cv2.moments(points)
        assert np.pi * 0.9 < moments["m00"] < np.pi * 1.01
        assert abs(moments["m10"]) < 0.15 * np.pi
        assert abs(moments["m01"]) < 0.15 * np.pi


def test_sprite_outside_the_picture_leaves_it_alone():
    picture = np.full((20, 24, 3), 7, np.uint8)
    sprite = render_sprite(np.random.default_rng(0), 1)
    alpha = place_sprite(sprite, picture, center=np.array([-90.0, 4.0]), diameter=9.0, angle=0.0)
    assert alpha.shape == (20, 24)
    assert not alpha.any()
    assert (picture == 7).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_name": "sideways"}, "class_name='sideways' must be one of left, right"),
        ({"split": "test"}, "split='test' must be one of train, val"),
        ({"difficulty": "hard"}, "difficulty='hard' must be one of easy, cluttered"),
        ({"camera": "drone"}, "camera='drone' must be one of static, moving"),
        ({"num_frames": 1}, "num_frames=1 must be >= 2"),
        ({"size": 57}, "size=57 must be even"),
        ({"size": 30}, "size=30 must be even and >= 32"),
        ({"seed": -1}, "seed=-1 must be >= 0"),
        ({"index": -1}, "index=-1 must be >= 0"),
    ],
)
def test_impossible_arguments_are_refused(own_checks_only, change, message):
    arguments = {"class_name": "left", "split": "train", "index": 0} | change
    with pytest.raises(ValueError, match=message):
        generate_clip(**arguments)
