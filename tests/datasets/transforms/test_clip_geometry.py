"""Planned geometry draws what MMAction2's steps draw and gives what they give."""

import pickle
import random
import types

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import (
    Flip,
    FormatShape,
    PackActionInputs,
    RandomResizedCrop,
    Resize,
    ThreeCrop,
)
from torch.utils.data._utils.pin_memory import pin_memory

from amflow_mm.datasets.planned_clip import PlannedClip, render_clips
from amflow_mm.datasets.transforms.clip_geometry import PlanFlip, PlanResize, PlanThreeCrop

PACKED = (FormatShape("NCTHW"), PackActionInputs())
HEIGHT, WIDTH, CLIP_LEN, NUM_CLIPS = 43, 61, 3, 2


def run(*steps, seed=0, height=HEIGHT, width=WIDTH):
    """Send two clips through steps; returns the sample and a number drawn after them."""
    frames = np.random.default_rng(7).integers(
        0, 256, (NUM_CLIPS * CLIP_LEN, height, width, 3), dtype=np.uint8
    )
    random.seed(seed)
    np.random.seed(seed)
    results = {
        "imgs": list(frames), "img_shape": (height, width), "modality": "RGB",
        "num_clips": NUM_CLIPS, "clip_len": CLIP_LEN, "label": 1,
    }  # fmt: skip
    for step in steps:
        results = step(results)
    return results, (random.random(), np.random.rand())


def greatest_difference(found, expected):
    rendered = found["inputs"].render()
    assert rendered.shape == expected["inputs"].shape
    return (rendered.float() - expected["inputs"].float()).abs().max().item()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("direction", ["horizontal", "vertical"])
def test_random_geometry_is_mmaction2s_within_one_grey_level(seed, direction):
    size = (29, 37)
    area = (0.3, 0.9)
    expected, next_expected = run(
        RandomResizedCrop(area), Resize(size, keep_ratio=False), Flip(0.5, direction), *PACKED,
        seed=seed,
    )  # fmt: skip
    planned, next_planned = run(
        RandomResizedCrop(area), *PACKED, PlanResize(size), PlanFlip(0.5, direction), seed=seed
    )
    assert greatest_difference(planned, expected) < 1
    assert next_planned == next_expected


@pytest.mark.parametrize("size", [(7, 11), (61, 43), (122, 86), (130, 150)])
def test_resizing_is_mmaction2s_within_one_grey_level(size):
    expected, _ = run(Resize(size, keep_ratio=False), *PACKED)
    planned, _ = run(*PACKED, PlanResize(size))
    assert greatest_difference(planned, expected) < 1


def test_seeds_differ_in_their_flips():
    views = [run(*PACKED, PlanFlip(), seed=seed)[0]["inputs"].views[0] for seed in range(12)]
    assert {view.flip_horizontal for view in views} == {True, False}


@pytest.mark.parametrize(
    ("host", "planned"),
    [
        (ThreeCrop(HEIGHT), PlanThreeCrop(HEIGHT)),
        (ThreeCrop((31, HEIGHT)), PlanThreeCrop((31, HEIGHT))),
        (ThreeCrop((WIDTH, 17)), PlanThreeCrop((WIDTH, 17))),
        (Flip(1.0), PlanFlip(1.0)),
        (Flip(1.0, "vertical"), PlanFlip(1.0, "vertical")),
    ],
)
def test_what_is_not_resized_is_equal_to_the_bit(host, planned):
    expected, _ = run(host, *PACKED)
    found, _ = run(*PACKED, planned)
    rendered = found["inputs"].render()
    assert rendered.dtype == torch.uint8
    assert torch.equal(rendered, expected["inputs"])
    assert found["data_samples"].img_shape == expected["data_samples"].img_shape


def test_three_crops_of_two_clips_are_sent_as_two_clips():
    sample, _ = run(*PACKED, PlanThreeCrop(HEIGHT))
    clip = sample["inputs"]
    assert clip.shape == clip.render().shape == (3 * NUM_CLIPS, 3, CLIP_LEN, HEIGHT, HEIGHT)
    assert clip.clips.shape == (NUM_CLIPS, 3, CLIP_LEN, HEIGHT, WIDTH)


def test_a_second_flip_undoes_the_first_and_both_directions_turn_the_frame():
    (untouched, _), (twice, _) = run(*PACKED), run(*PACKED, PlanFlip(1.0), PlanFlip(1.0))
    assert torch.equal(twice["inputs"].render(), untouched["inputs"])
    turned, _ = run(*PACKED, PlanFlip(1.0), PlanFlip(1.0, "vertical"))
    assert torch.equal(turned["inputs"].render(), untouched["inputs"].rot90(2, (-2, -1)))


def test_planning_and_rendering_touch_no_pixel_of_the_clip():
    sample, _ = run(*PACKED, PlanThreeCrop(HEIGHT), PlanResize(23), PlanFlip(1.0))
    untouched, _ = run(*PACKED)
    sample["inputs"].render()
    assert torch.equal(sample["inputs"].clips, untouched["inputs"])


def test_a_plan_survives_the_way_between_processes():
    sample, _ = run(*PACKED, PlanThreeCrop(HEIGHT), PlanResize(23))
    copy = pickle.loads(pickle.dumps(sample))
    assert copy["inputs"].views == sample["inputs"].views
    assert torch.equal(copy["inputs"].render(), sample["inputs"].render())


def test_only_pixels_are_pinned_and_moved():
    pinned = types.SimpleNamespace(is_pinned=True)
    clips = types.SimpleNamespace(pin_memory=lambda: pinned)
    views = run(*PACKED, PlanThreeCrop(HEIGHT))[0]["inputs"].views
    clip = PlannedClip(clips=clips, metainfo={"views": views})
    copies = pin_memory([clip])
    assert copies[0].clips is pinned
    assert copies[0].views == views
    moved = run(*PACKED, PlanThreeCrop(HEIGHT))[0]["inputs"].to("meta")
    assert moved.clips.device.type == "meta"
    assert moved.views == views


def test_tensors_are_rendered_as_they_are():
    clip = torch.zeros(1, 3, 2, 5, 7)
    planned = run(*PACKED, PlanResize(5))[0]["inputs"]
    rendered = render_clips([clip, planned])
    assert rendered[0] is clip
    assert rendered[1].shape[-2:] == (5, 5)


def test_a_planned_clip_taken_for_a_tensor_names_the_remedy():
    planned = run(*PACKED, PlanResize(5))[0]["inputs"]
    with pytest.raises(AttributeError, match=r"no 'ndim'.*ClipPreprocessor"):
        planned.ndim  # noqa: B018


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([PlanFlip()], "PlanFlip found no packed clip; put it behind PackActionInputs"),
        ([FormatShape("NCHW"), PackActionInputs(), PlanFlip()], r"input_format='NCTHW'"),
        ([*PACKED, PlanFlip(1.0), PlanThreeCrop(HEIGHT)], "it comes first"),
        ([*PACKED, PlanResize(31), PlanThreeCrop(31)], "it comes first"),
        ([*PACKED, PlanThreeCrop(HEIGHT), PlanThreeCrop(HEIGHT)], "it comes first"),
        ([*PACKED, PlanThreeCrop(30)], r"\(30, 30\) must have the height or the width"),
        ([*PACKED, PlanThreeCrop((62, 43))], "exceed neither"),
    ],
)
def test_steps_in_the_wrong_place_or_size_raise(steps, message):
    with pytest.raises(ValueError, match=message):
        run(*steps)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PlanThreeCrop(0), "crop_size=0 must be a side"),
        (lambda: PlanThreeCrop((1, 2, 3)), "crop_size"),
        (lambda: PlanResize((-1, 256)), r"scale=\(-1, 256\) must be a side or \(width, height\)"),
        (lambda: PlanFlip(1.5), "flip_ratio=1.5 is a probability"),
        (lambda: PlanFlip(direction="diagonal"), "direction='diagonal'"),
    ],
)
def test_arguments_out_of_range_raise(make, message):
    with pytest.raises(ValueError, match=message):
        make()
