"""Frozen features in eight bits, and the limit of what they may take."""

import logging
import os
import re

import numpy as np
import pytest
import torch

from amflow_mm.engine.runner import AMFlowRunner
from tests.engine.hooks.frozen_runs import (
    COLUMN,
    NUM_TRAIN,
    NUM_VAL,
    VAL_VIEWS,
    contents_of,
    folders_of,
    make_config,
    train,
)
from tests.models.tiny import side

pytestmark = pytest.mark.usefixtures("plain_configs")


def hook(**options):
    return [{"type": "FrozenFeatureHook", "batch_size": 2, "num_workers": 0, **options}]


INT8 = hook(kept_as="int8")


def bytes_in(folder, kind):
    return sum(
        os.path.getsize(path) for store in folders_of(folder, kind) for path in store.iterdir()
    )


# ---------------------------------------------------------------- eight bits


def test_int8_trains_nearly_as_float16_does(folder):
    as_float16 = train(folder)
    as_int8 = train(folder, custom_hooks=INT8)
    scores = []
    for runner in (as_float16, as_int8):
        sample = runner.val_dataloader.dataset[0]
        batch = {
            "inputs": {k: [v] for k, v in sample["inputs"].items()},
            "data_samples": [sample["data_samples"]],
        }
        scores.append(runner.model.eval().test_step(batch)[0].pred_score)
    torch.testing.assert_close(scores[1], scores[0], atol=0.01, rtol=0)
    assert not torch.equal(scores[1], scores[0])
    accuracies = [r.message_hub.get_scalar("val/acc/top1").data[0] for r in (as_float16, as_int8)]
    assert accuracies[0].tolist() == accuracies[1].tolist()


def test_each_form_has_stores_of_its_own_and_they_share_the_flow(folder, passes):
    train(folder)
    before, flows = contents_of(folder), folders_of(folder, "flow")
    passes.clear()
    runner = train(folder, custom_hooks=INT8)
    assert len(passes) == 2 + NUM_TRAIN // 2 + NUM_VAL // 2
    after = contents_of(folder)
    assert {path: after[path] for path in before} == before
    assert folders_of(folder, "flow") == flows
    assert len(folders_of(folder, "tokens")) == 4
    assert runner.train_dataloader.dataset[0]["inputs"]["tokens"].dtype == torch.int8
    passes.clear()
    again = train(folder)
    train(folder, custom_hooks=INT8)
    assert passes == []
    assert again.train_dataloader.dataset[0]["inputs"]["tokens"].dtype == torch.float16


def test_kept_bytes_are_within_half_a_step_of_what_float16_keeps(folder):
    exact = train(folder).train_dataloader.dataset
    runner = train(folder, custom_hooks=INT8)
    packed = runner.train_dataloader.dataset
    for index in range(NUM_TRAIN):
        arrays = packed[index]["inputs"]
        expected = exact[index]["inputs"]["tokens"].float()
        decoded = arrays["tokens_middle"] + arrays["tokens_scale"] * arrays["tokens"]
        error = (decoded - expected).abs()
        assert (error <= arrays["tokens_scale"] * 0.50001 + 1e-6).all()
        assert error.max() > 0


def test_features_that_overflow_raise_in_int8_too(folder):
    config = make_config(folder, custom_hooks=INT8)
    config.model.data_preprocessor.std = (1e-5,) * 3
    with pytest.raises(ValueError, match=r"'tokens_\w+' is not finite .* overflows half precision"):
        AMFlowRunner.from_cfg(config).train()
    assert not any((folder / "cache").glob("*"))


def test_a_preprocessor_that_cannot_read_features_is_refused(folder):
    config = make_config(folder)
    config.model.data_preprocessor.type = "ActionDataPreprocessor"
    config.model.data_preprocessor.format_shape = "NCTHW"
    with pytest.raises(ValueError, match=r"ActionDataPreprocessor reads clips alone.*use FrozenF"):
        AMFlowRunner.from_cfg(config).train()


# ---------------------------------------------------------------- size and limit

LINE = re.compile(
    r"frozen features, (\w+): ([\d.]+ \w+) for ([\d,]+) rows, ([\d.]+ \w+) a row, (.+)"
)


def sizes_told(config, caplog):
    """Train; return what was told of sizes, a tuple for each line."""
    caplog.set_level(logging.INFO)
    config.log_level = "INFO"
    runner = AMFlowRunner.from_cfg(config)
    runner.logger.addHandler(caplog.handler)
    runner.train()
    return [match.groups() for match in map(LINE.match, caplog.messages) if match]


def test_the_size_is_told_first_and_is_right(folder, caplog):
    config = make_config(folder, num_draws=2, custom_hooks=hook(max_gigabytes=1.5))
    train_line, val_line = sizes_told(config, caplog)
    assert train_line[0] == "training"
    assert val_line[0] == "validation"
    assert (train_line[2], val_line[2]) == (str(NUM_TRAIN * 2), str(NUM_VAL))
    assert train_line[4] == val_line[4] == "limit 1.5 GB"
    files = sum(os.path.getsize(path) for path in (folder / "cache").rglob("*.bin"))
    assert sum(float(line[1].split()[0]) * 1e3 for line in (train_line, val_line)) == pytest.approx(
        files, rel=0.01
    )


def test_what_is_there_is_told(folder, caplog):
    train(folder)
    for store in folders_of(folder, "tokens"):
        marks = np.fromfile(store / "done.bin", dtype=np.uint8)
        if len(marks) == NUM_TRAIN:
            marks[:2] = 0
            marks.tofile(store / "done.bin")
    (line,) = sizes_told(make_config(folder), caplog)
    assert line[0] == "training"
    assert line[4] == f"no limit; {NUM_TRAIN - 2} rows are there"


def needed(folder):
    """Bytes of the arrays of a run."""
    train(folder)
    return sum(os.path.getsize(path) for path in (folder / "cache").rglob("*.bin"))


def test_training_and_validation_count_together_and_nothing_is_written(folder, passes):
    size = needed(folder)
    (folder / "cache").rename(folder / "measured")
    passes.clear()
    with pytest.raises(ValueError, match=r"max_gigabytes=\S+ of FrozenFeatureHook is less than"):
        train(folder, custom_hooks=hook(max_gigabytes=(size - 1) / 1e9))
    assert passes == [1, VAL_VIEWS]
    assert not (folder / "cache").exists()
    train(folder, custom_hooks=hook(max_gigabytes=size / 1e9))


def test_the_error_tells_sizes_and_remedies(folder):
    with pytest.raises(ValueError, match="max_gigabytes=1e-06") as raised:
        train(folder, custom_hooks=hook(max_gigabytes=1e-6))
    text = str(raised.value)
    for part in (
        "training ", "validation ", "num_draws", 'kept_as="int8"', "model.backbone.layers",
        "larger max_gigabytes", "without FrozenFeatureDataset", str(folder / "cache"),
    ):  # fmt: skip
        assert part in text
    with pytest.raises(ValueError, match="max_gigabytes=1e-06") as raised:
        train(folder, custom_hooks=hook(max_gigabytes=1e-6, kept_as="int8"))
    assert "kept_as" not in str(raised.value)


def test_features_of_other_runs_count_and_those_of_ones_own_need_no_room(folder):
    size = needed(folder)
    limit = hook(max_gigabytes=size / 1e9)
    train(folder, custom_hooks=hook(max_gigabytes=1e-6))  # everything is there
    train(folder, neck={"type": "UniformFlow"}, custom_hooks=hook(max_gigabytes=1e-6))
    with pytest.raises(ValueError, match=r"to come and .* there, other runs' included"):
        train(folder, backbone=side(layers=(1, 2)), custom_hooks=limit)
    for store in (folder / "cache").iterdir():
        store.rename(folder / store.name)
    train(folder, backbone=side(layers=(1, 2)), custom_hooks=hook(max_gigabytes=1.1 * size / 1e9))


def test_another_flow_alone_is_sized_as_what_it_adds(folder):
    size = needed(folder)
    flow = bytes_in(folder, "flow")
    row = {**COLUMN, "normalize": "row"}
    too_little = hook(max_gigabytes=(size + flow // 2) / 1e9)
    with pytest.raises(ValueError, match="max_gigabytes"):
        train(folder, neck=row, custom_hooks=too_little)
    train(folder, neck=row, custom_hooks=hook(max_gigabytes=1.1 * (size + flow) / 1e9))


@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_that_allows_nothing_is_refused(folder, value):
    with pytest.raises(ValueError, match=rf"max_gigabytes={value} must be > 0.*take None"):
        AMFlowRunner.from_cfg(make_config(folder, custom_hooks=hook(max_gigabytes=value)))


def test_an_unknown_form_is_refused(folder):
    with pytest.raises(ValueError, match="kept_as='int4' must be one of 'float16', 'int8'"):
        AMFlowRunner.from_cfg(make_config(folder, custom_hooks=hook(kept_as="int4")))
