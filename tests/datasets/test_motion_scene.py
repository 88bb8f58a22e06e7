import numpy as np
import pytest

from amflow_mm.datasets.motion_render import MARGIN
from amflow_mm.datasets.motion_scene import (
    ANGLE,
    LOG_SIZE,
    MOTION_CLASSES,
    X,
    Y,
    camera_path,
    clip_times,
    from_first_frame,
    object_channels,
    sample_scene,
    view_track,
)

NUM_FRAMES, SIZE = 7, 112
OPPOSITES = (
    ("left", "right"),
    ("up", "down"),
    ("approach", "recede"),
    ("clockwise", "counter_clockwise"),
)


def scenes(camera, count, seed=0):
    rng = np.random.default_rng(seed)
    return [
        sample_scene(rng, camera=camera, num_frames=NUM_FRAMES, size=SIZE) for _ in range(count)
    ]


def test_labels_are_the_documented_order():
    assert tuple(name for pair in OPPOSITES for name in pair) == MOTION_CLASSES


@pytest.mark.parametrize(("name", "channel", "sign"), [
    ("left", X, -1), ("right", X, 1), ("up", Y, -1), ("down", Y, 1),
    ("approach", LOG_SIZE, 1), ("recede", LOG_SIZE, -1),
    ("clockwise", ANGLE, 1), ("counter_clockwise", ANGLE, -1),
])  # fmt: skip
def test_class_moves_its_channel_and_no_other(name, channel, sign):
    (scene,) = scenes("static", 1)
    steps = np.diff(object_channels(scene, name, NUM_FRAMES), axis=0)
    assert (np.sign(steps[:, channel]) == sign).all()
    moves = [channel, X, Y] if channel == ANGLE else [channel]  # a turn swings about a pivot
    np.testing.assert_array_equal(np.delete(steps, moves, axis=1), 0)


@pytest.mark.parametrize(("first", "second"), OPPOSITES)
def test_opposite_classes_are_each_other_in_reverse(first, second):
    for scene in scenes("static", 5):
        np.testing.assert_allclose(
            object_channels(scene, first, NUM_FRAMES),
            object_channels(scene, second, NUM_FRAMES)[::-1],
            atol=1e-9,
        )


def test_every_class_visits_the_same_states():
    # Over all moments at which the still channels may stand, each channel takes the same values
    # equally often in all classes, and the playing channel does not choose the others' values.
    (scene,) = scenes("static", 1)
    visited = {}
    for name in MOTION_CLASSES:
        states = []
        for still in np.ndindex(*(3,) * 4):
            frozen = type(scene)(**{**vars(scene), "still": np.array(still)})
            states.append(object_channels(frozen, name, 3))
        states = np.round(np.concatenate(states), 6)
        visited[name] = states[np.lexsort(states.T)]
    for name in MOTION_CLASSES[1:]:
        np.testing.assert_array_equal(visited[name], visited["left"])


def test_still_moments_are_uniform_over_the_clip():
    still = np.array([scene.still for scene in scenes("static", 3000)])
    for channel in range(4):
        share = np.bincount(still[:, channel], minlength=NUM_FRAMES) / len(still)
        # Five standard errors of a share of 1/7 among 3000.
        np.testing.assert_allclose(share, 1 / NUM_FRAMES, atol=0.032)


def test_sweeps_give_the_documented_speeds():
    sweeps = np.array([scene.sweep for scene in scenes("static", 500)])
    travel_per_interval = sweeps[:, :2] * 2 / 15
    assert travel_per_interval.min() > 4.4
    assert travel_per_interval.max() < 6.8
    ratio = np.exp(sweeps[:, LOG_SIZE])
    assert ratio.min() > 1.79
    assert ratio.max() < 2.41
    turn_per_interval = sweeps[:, ANGLE] * 2 / 15
    assert turn_per_interval.min() > 19.9
    assert turn_per_interval.max() < 40.1


def test_the_centre_of_the_object_stays_in_the_frame():
    for scene in scenes("static", 200):
        for name in MOTION_CLASSES:
            place = object_channels(scene, name, NUM_FRAMES)[:, [X, Y]]
            assert (place > 0).all()
            assert (place < SIZE - 1).all()


def test_a_turn_swings_the_object_about_its_pivot():
    (scene,) = scenes("static", 1)
    channels = object_channels(scene, "clockwise", NUM_FRAMES)
    still = scene.middle + scene.sweep * clip_times(NUM_FRAMES)[scene.still]
    arms = channels[:, [X, Y]] - still[[X, Y]]
    np.testing.assert_allclose(np.linalg.norm(arms, axis=1), scene.arm)
    direction = np.degrees(np.arctan2(arms[:, 1], arms[:, 0]))
    difference = (direction - channels[:, ANGLE] + 180) % 360 - 180
    np.testing.assert_allclose(difference, 0, atol=1e-9)


def test_camera_says_nothing_about_the_class_and_shows_no_border():
    corners = np.array([[-0.5, -0.5], [SIZE - 0.5, -0.5], [-0.5, SIZE - 0.5], [SIZE - 0.5] * 2])
    kinds = set()
    for scene in scenes("moving", 400):
        kinds.add(scene.camera_kind)
        for matrix in camera_path(scene, NUM_FRAMES, SIZE)[[0, -1]]:
            seen = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
            assert seen.min() >= -MARGIN * SIZE
            assert seen.max() <= SIZE - 1 + MARGIN * SIZE
    assert kinds == {"pan", "zoom", "roll"}


def test_camera_path_has_no_preferred_direction():
    motion = np.array([scene.camera_motion for scene in scenes("moving", 3000)])
    error = motion.std(axis=0) / np.sqrt(len(motion))
    assert (np.abs(motion.mean(axis=0)) < 4 * error).all()


def test_static_camera_is_the_identity_everywhere():
    for scene in scenes("static", 3):
        expected = np.tile(np.eye(2, 3), (NUM_FRAMES, 1, 1))
        np.testing.assert_allclose(camera_path(scene, NUM_FRAMES, SIZE), expected, atol=1e-9)


def test_first_frame_matrices_undo_the_camera():
    # What stands still in the scene is carried from the first frame to frame t by the matrices.
    for scene in scenes("moving", 6):
        cameras = camera_path(scene, NUM_FRAMES, SIZE)
        still = np.tile(scene.middle, (NUM_FRAMES, 1))
        seen = view_track(still, cameras)
        from_first = from_first_frame(cameras)
        predicted = from_first[:, :, :2] @ seen.center[0] + from_first[:, :, 2]
        np.testing.assert_allclose(predicted, seen.center, atol=1e-3)
        zoom = np.sqrt(np.linalg.det(from_first[:, :, :2]))
        np.testing.assert_allclose(seen.diameter / seen.diameter[0], zoom, atol=1e-4)
        roll = np.degrees(np.arctan2(from_first[:, 1, 0], from_first[:, 0, 0]))
        np.testing.assert_allclose(seen.angle - seen.angle[0], roll, atol=1e-3)
