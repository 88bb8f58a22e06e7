"""Planned clips become what MMAction2 makes of cropped ones; others are left to MMAction2."""

import random

import numpy as np
import pytest
import torch
from mmaction.datasets.transforms import (
    CenterCrop,
    Flip,
    FormatShape,
    PackActionInputs,
    RandomResizedCrop,
    Resize,
    ThreeCrop,
)
from mmaction.models.data_preprocessors import ActionDataPreprocessor
from mmaction.structures import ActionDataSample
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from amflow_mm.datasets.transforms.clip_geometry import PlanFlip, PlanResize, PlanThreeCrop
from amflow_mm.engine.config_check import ConfigError, check_config
from amflow_mm.models.clip_preprocessor import ClipPreprocessor

MEAN, STD = (101.0, 103.0, 107.0), (53.0, 59.0, 61.0)
PACKED = (FormatShape("NCTHW"), PackActionInputs())
SIZES = [(43, 61), (47, 47), (71, 43)]
ALL = range(len(SIZES))
CLIP_LEN = 3


def sample_of(number, *steps):
    """Send a clip through steps; each number has a clip of its own size and its own seed."""
    height, width = SIZES[number]
    rng = np.random.default_rng(number)
    frames = rng.integers(0, 256, (CLIP_LEN, height, width, 3), dtype=np.uint8)
    random.seed(number)
    np.random.seed(number)
    results = {
        "imgs": list(frames), "img_shape": (height, width), "modality": "RGB", "num_clips": 1,
        "clip_len": CLIP_LEN, "label": number,
    }  # fmt: skip
    for step in steps:
        results = step(results)
    return results


def batch_of(*steps, numbers=ALL):
    return pseudo_collate([sample_of(number, *steps) for number in numbers])


HOST_STEPS = (RandomResizedCrop(), Resize((29, 31), keep_ratio=False), Flip(), *PACKED)
PLANNED_STEPS = (RandomResizedCrop(), *PACKED, PlanResize((29, 31)), PlanFlip())


@pytest.mark.parametrize(
    "options",
    [
        {"mean": MEAN, "std": STD},
        {"mean": MEAN, "std": STD, "to_rgb": True},
        {},
        {"mean": MEAN, "std": STD, "blending": {"type": "MixupBlending", "num_classes": 3}},
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_clips_without_a_plan_are_mmaction2s_to_the_bit(options, training):
    expected_from = ActionDataPreprocessor(**options, format_shape="NCTHW")
    torch.manual_seed(3)
    expected = expected_from(batch_of(*HOST_STEPS), training=training)
    torch.manual_seed(3)
    found = ClipPreprocessor(**options)(batch_of(*HOST_STEPS), training=training)
    assert torch.equal(found["inputs"], expected["inputs"])
    for ours, theirs in zip(found["data_samples"], expected["data_samples"], strict=True):
        assert torch.equal(ours.gt_label, theirs.gt_label)


def test_missing_samples_are_passed_on_and_frames_by_themselves_too():
    frames = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8)
    batch, samples = ClipPreprocessor(MEAN, STD, format_shape="NCHW").preprocess([frames], None)
    by_hand = (frames - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(batch, by_hand[None])
    assert samples is None


def test_planned_clips_of_different_sizes_make_one_batch():
    expected = ActionDataPreprocessor(MEAN, STD, format_shape="NCTHW")(batch_of(*HOST_STEPS))
    found = ClipPreprocessor(MEAN, STD)(batch_of(*PLANNED_STEPS), training=True)
    difference = (found["inputs"] - expected["inputs"]).abs() * torch.tensor(STD).view(3, 1, 1, 1)
    assert found["inputs"].shape == (3, 1, 3, CLIP_LEN, 31, 29)
    assert difference.max() < 1  # one grey level; MMAction2 rounds to whole ones
    assert [sample.gt_label.item() for sample in found["data_samples"]] == [0, 1, 2]


def test_three_crops_of_one_clip_equal_mmaction2s():
    expected = batch_of(ThreeCrop(43), *PACKED, numbers=[0, 2])
    found = ClipPreprocessor(MEAN, STD)(batch_of(*PACKED, PlanThreeCrop(43), numbers=[0, 2]))
    assert found["inputs"].shape == (2, 3, 3, CLIP_LEN, 43, 43)
    host = ActionDataPreprocessor(MEAN, STD, format_shape="NCTHW")
    assert torch.equal(found["inputs"], host(expected)["inputs"])


@pytest.mark.parametrize("is_autocast", [False, True])
def test_resized_and_untouched_clips_stand_in_one_batch(is_autocast):
    def steps(number):
        return (CenterCrop(43 if number == 0 else 37), *PACKED, PlanResize(43))

    batch = pseudo_collate([sample_of(number, *steps(number)) for number in (0, 1)])
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        found = ClipPreprocessor()(batch)["inputs"]
    assert found.dtype == torch.float32
    untouched = sample_of(0, *PACKED)["inputs"][..., 9:52]
    assert torch.equal(found[0], untouched.float())


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("steps", [HOST_STEPS, PLANNED_STEPS])
def test_half_precision_is_rounded_once(name, steps):
    found = ClipPreprocessor(MEAN, STD, dtype=name)(batch_of(*steps))["inputs"]
    exact = ClipPreprocessor(MEAN, STD)(batch_of(*steps))["inputs"]
    assert torch.equal(found, exact.to(getattr(torch, name)))


def test_unknown_dtype_raises(own_checks_only):
    with pytest.raises(ValueError, match="dtype='int8' must be one of float32, float16, bfloat16"):
        ClipPreprocessor(dtype="int8")


def test_mmaction2s_preprocessor_refuses_planned_clips():
    host = ActionDataPreprocessor(MEAN, STD, format_shape="NCTHW")
    with pytest.raises(AttributeError, match=r"data_preprocessor\.type to ClipPreprocessor"):
        host(batch_of(*PLANNED_STEPS))


def test_a_config_may_state_every_argument_and_no_other():
    arguments = {
        "mean": [*MEAN], "std": [*STD], "to_rgb": False, "blending": None,
        "format_shape": "NCTHW", "dtype": "bfloat16",
    }  # fmt: skip
    check_config({"model": {"data_preprocessor": {"type": ClipPreprocessor, **arguments}}})
    ClipPreprocessor(**arguments)
    with pytest.raises(ConfigError, match="ClipPreprocessor takes no 'dtyp'"):
        check_config({"model": {"data_preprocessor": {"type": ClipPreprocessor, "dtyp": 1}}})


class _Planned(torch.utils.data.Dataset):
    def __len__(self):
        return len(SIZES)

    def __getitem__(self, number):
        return sample_of(number, *PLANNED_STEPS)


def test_clips_from_a_worker_process_lie_in_shared_memory_and_render_alike():
    loader = DataLoader(
        _Planned(),
        batch_size=3,
        num_workers=1,
        collate_fn=pseudo_collate,
    )
    (batch,) = loader
    assert all(clip.clips.is_shared() for clip in batch["inputs"])
    assert all(isinstance(sample, ActionDataSample) for sample in batch["data_samples"])
    found = ClipPreprocessor(MEAN, STD)(batch)["inputs"]
    expected = ClipPreprocessor(MEAN, STD)(batch_of(*PLANNED_STEPS))["inputs"]
    assert torch.equal(found, expected)


@pytest.mark.gpu
@pytest.mark.parametrize("steps", [HOST_STEPS, PLANNED_STEPS, (*PACKED, PlanThreeCrop(43))])
def test_the_device_gives_what_the_processor_gives(steps):
    numbers = [0, 2]
    found = ClipPreprocessor(MEAN, STD).cuda()(batch_of(*steps, numbers=numbers))["inputs"]
    assert found.is_cuda
    expected = ClipPreprocessor(MEAN, STD)(batch_of(*steps, numbers=numbers))["inputs"]
    torch.testing.assert_close(found.cpu(), expected, atol=1e-4, rtol=0)


@pytest.mark.gpu
def test_a_loader_pins_planned_clips():
    loader = DataLoader(
        _Planned(), batch_size=3, num_workers=0, collate_fn=pseudo_collate, pin_memory=True
    )
    (batch,) = loader
    assert all(clip.clips.is_pinned() for clip in batch["inputs"])
