"""Clips are normalised as by MMAction2, frozen features stacked as they are."""

import pytest
import torch
from mmaction.models.data_preprocessors import ActionDataPreprocessor
from mmaction.structures import ActionDataSample
from mmengine.dataset import pseudo_collate

from amflow_mm.models import FrozenFeaturePreprocessor

MEAN, STD = (1.0, 2.0, 3.0), (4.0, 5.0, 6.0)


@pytest.fixture
def preprocessor():
    return FrozenFeaturePreprocessor(MEAN, STD)


def batch_of(*inputs):
    """Collate as the loaders of the configs do."""
    rows = [
        {"inputs": value, "data_samples": ActionDataSample().set_gt_label(index)}
        for index, value in enumerate(inputs)
    ]
    return pseudo_collate(rows)


def features_of(number):
    return {
        "vector": torch.full((1, 2, 3), float(number)),
        "tokens": torch.full((1, 2, 2, 2, 3, 3), float(number), dtype=torch.float16),
    }


@pytest.mark.parametrize("training", [False, True])
def test_clips_pass_as_through_mmaction2(preprocessor, training):
    clips = torch.randint(0, 256, (2, 1, 3, 4, 7, 7), dtype=torch.uint8)
    found = preprocessor(batch_of(*clips), training=training)
    host = ActionDataPreprocessor(mean=MEAN, std=STD, format_shape="NCTHW")
    expected = host(batch_of(*clips), training=training)
    assert torch.equal(found["inputs"], expected["inputs"])
    by_hand = (clips - torch.tensor(MEAN).view(3, 1, 1, 1)) / torch.tensor(STD).view(3, 1, 1, 1)
    torch.testing.assert_close(found["inputs"], by_hand)


@pytest.mark.parametrize("is_autocast", [False, True])
def test_frozen_features_are_stacked_as_they_are(preprocessor, is_autocast):
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        found = preprocessor(batch_of(features_of(5), features_of(7)), training=True)
    inputs = found["inputs"]
    assert inputs.keys() == {"vector", "tokens"}
    assert inputs["tokens"].dtype == torch.float16
    assert inputs["tokens"].shape == (2, 1, 2, 2, 2, 3, 3)
    assert inputs["vector"][:, 0, 0, 0].tolist() == [5.0, 7.0]
    assert [sample.gt_label.item() for sample in found["data_samples"]] == [0, 1]


@pytest.mark.parametrize("is_autocast", [False, True])
def test_what_was_packed_comes_out_in_half_precision(preprocessor, is_autocast):
    generator = torch.Generator().manual_seed(1)
    rows = [
        {
            "vector": torch.randn((1, 2, 3), generator=generator),
            "tokens": torch.randn((1, 2, 2, 2, 3, 3), generator=generator).half(),
        }
        for _ in range(2)
    ]
    packed = [preprocessor.pack(row, "int8") for row in rows]
    assert packed[0].keys() == {"vector", "tokens", "tokens_scale", "tokens_middle"}
    assert packed[0]["tokens"].dtype == torch.int8
    assert rows[0]["tokens"].dtype == torch.float16  # the input is left as it was
    with torch.autocast("cpu", torch.bfloat16, enabled=is_autocast):
        inputs = preprocessor(batch_of(*packed), training=True)["inputs"]
    assert inputs.keys() == {"vector", "tokens"}
    assert inputs["tokens"].dtype == torch.float16
    expected = torch.stack([row["tokens"] for row in rows])
    torch.testing.assert_close(inputs["tokens"], expected, atol=0.02, rtol=0)
    assert torch.equal(inputs["vector"], torch.stack([row["vector"] for row in rows]))


def test_half_precision_is_packed_as_it_is(preprocessor):
    features = features_of(5)
    packed = preprocessor.pack(features, "float16")
    assert packed.keys() == features.keys()
    assert all(packed[name] is value for name, value in features.items())


def test_features_without_tokens_are_packed_too(preprocessor):
    packed = preprocessor.pack({"vector": torch.ones(1, 2, 3)}, "int8")
    assert packed.keys() == {"vector"}
