"""Checkpoints of older versions load, those of newer ones say what to do."""

import copy

import pytest
import torch

from amflow_mm import __version__
from amflow_mm.engine import migration
from amflow_mm.engine.checkpoint import read_checkpoint
from amflow_mm.engine.errors import CheckpointError
from amflow_mm.engine.migration import CHECKPOINT_FORMAT, MIGRATIONS, migrate
from tests.engine.tiny_experiment import assert_same


def checkpoint_of_format_0():
    """Build what amflow_mm 0.1 wrote before checkpoints had a format: entry by entry."""
    return {
        "meta": {
            "epoch": 1,
            "iter": 4,
            "cfg": "model = dict(type='AMFlowRecognizer')\n",
            "seed": 3,
            "experiment_name": "demo",
            "time": "20260101_120000",
            "mmengine_version": "0.10.7",
            "dataset_meta": {},
        },
        "state_dict": {
            "backbone.blocks.0.attn.qkv.weight": torch.arange(6.0).reshape(2, 3),
            "backbone.blocks.0.adapter.down.weight": torch.arange(3.0),
        },
        "message_hub": {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}},
        "optimizer": {"state": {0: {"step": torch.tensor(4.0)}}, "param_groups": [{"lr": 0.1}]},
        "param_schedulers": [{"last_step": 1}],
    }


def test_every_older_format_has_its_step():
    assert set(MIGRATIONS) == set(range(CHECKPOINT_FORMAT))


def test_first_checkpoints_are_read_and_keep_all_that_they_held():
    old = checkpoint_of_format_0()
    before = copy.deepcopy(old)
    migrated = migrate(old, "old.pth")
    assert migrated.pop("format") == CHECKPOINT_FORMAT
    assert migrated.pop("frozen") is None  # all weights are inside
    assert_same(migrated, before, "migrated")
    assert_same(old, before, "the argument")


def test_file_of_the_first_format_reads_as_todays(tmp_path):
    torch.save(checkpoint_of_format_0(), tmp_path / "old.pth")
    assert read_checkpoint(tmp_path / "old.pth")["format"] == CHECKPOINT_FORMAT


def test_renamed_weight_moves_on_step_by_step(monkeypatch):
    """A table with two more entries, as future versions may add them."""

    def rename(checkpoint):
        weights = checkpoint["state_dict"]
        renamed = {name.replace(".down.", ".reduce."): value for name, value in weights.items()}
        return {**checkpoint, "state_dict": renamed}

    def name_seed(checkpoint):
        return {**checkpoint, "meta": {**checkpoint["meta"], "random_seed": 3}}

    newest = CHECKPOINT_FORMAT + 2
    monkeypatch.setitem(MIGRATIONS, CHECKPOINT_FORMAT, rename)
    monkeypatch.setitem(MIGRATIONS, CHECKPOINT_FORMAT + 1, name_seed)
    monkeypatch.setattr(migration, "CHECKPOINT_FORMAT", newest)
    migrated = migrate(checkpoint_of_format_0(), "old.pth")
    assert migrated["format"] == newest
    assert list(migrated["state_dict"]) == [
        "backbone.blocks.0.attn.qkv.weight",
        "backbone.blocks.0.adapter.reduce.weight",
    ]
    assert migrated["meta"]["random_seed"] == 3
    of_before = {**checkpoint_of_format_0(), "format": newest - 1, "frozen": None}
    assert "backbone.blocks.0.adapter.down.weight" in migrate(of_before, "x.pth")["state_dict"]


def test_todays_checkpoint_stays_as_it_is():
    today = {**checkpoint_of_format_0(), "format": CHECKPOINT_FORMAT, "frozen": {"name": "a"}}
    assert_same(migrate(today, "x.pth"), today, "migrated")


def test_weights_alone_have_no_format():
    weights = {"fc.weight": torch.ones(2)}
    assert_same(migrate(weights, "x.pth"), weights, "migrated")


@pytest.mark.parametrize(
    ("meta", "writer"), [({"amflow_mm_version": "9.8"}, "9.8"), ({}, "unknown"), (None, "unknown")]
)
def test_newer_format_names_both_versions_and_the_remedy(meta, writer):
    newer = {"format": CHECKPOINT_FORMAT + 1, "state_dict": {}, "meta": meta}
    with pytest.raises(
        CheckpointError,
        match=rf"x\.pth has format {CHECKPOINT_FORMAT + 1} \(written by amflow_mm {writer}\), "
        rf"amflow_mm {__version__} reads formats up to {CHECKPOINT_FORMAT}: upgrade amflow_mm",
    ):
        migrate(newer, "x.pth")


@pytest.mark.parametrize("value", ["1", -1, True, 1.0, None])
def test_format_that_is_no_number_is_refused(value):
    with pytest.raises(CheckpointError, match=r"x\.pth has format=.* must be a whole number"):
        migrate({"format": value, "state_dict": {}}, "x.pth")
