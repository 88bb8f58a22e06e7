"""No checkpoint is removed before its successor stands, and the note names one that stands."""

import os

import pytest
import torch
from mmengine.fileio import BaseStorageBackend
from mmengine.fileio.backends.registry_utils import backends
from mmengine.runner import Runner

from amflow_mm.engine.config_check import ConfigError, check_config
from amflow_mm.engine.errors import CheckpointError
from amflow_mm.engine.hooks.checkpoint_hook import AMFlowCheckpointHook
from amflow_mm.engine.runner import AMFlowRunner
from tests.engine.tiny_experiment import (
    assert_same_run,
    make_config,
    train_here,
    write_experiment,
)


@pytest.fixture
def experiment(tmp_path):
    return write_experiment(tmp_path / "experiment")


def keeping(**options):
    return {"default_hooks.checkpoint": {"type": "AMFlowCheckpointHook", "interval": 1, **options}}


def names(folder):
    return sorted(path.name for path in folder.glob("*.pth"))


def fail_at(monkeypatch, name):
    """Let the disk refuse a file; returns what stood in its folder then."""
    seen = []
    replace = os.replace

    def refuse(source, target):
        if str(target).endswith(name):
            seen.extend(path.name for path in target.parent.glob("*.pth"))
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    return seen


def test_ours_is_the_default(experiment, tmp_path):
    runner = AMFlowRunner.from_cfg(make_config(experiment, tmp_path / "run"))
    assert [h for h in runner.hooks if isinstance(h, AMFlowCheckpointHook)]
    cfg = make_config(experiment, tmp_path / "none", {"default_hooks.checkpoint": None})
    hooks = AMFlowRunner.from_cfg(cfg).hooks
    assert not [hook for hook in hooks if "Checkpoint" in type(hook).__name__]


def test_oldest_are_removed(experiment, tmp_path):
    runner = train_here(
        experiment, tmp_path / "run", {**keeping(max_keep_ckpts=2), "train_cfg.max_epochs": 4}
    )
    assert names(tmp_path / "run") == ["epoch_3.pth", "epoch_4.pth"]
    assert runner.message_hub.get_info("keep_ckpt_ids") == [3, 4]
    assert (tmp_path / "run/last_checkpoint").read_text() == str(tmp_path / "run/epoch_4.pth")


@pytest.mark.slow
def test_oldest_and_its_note_stay_until_the_new_one_stands(experiment, tmp_path, monkeypatch):
    fail_at(monkeypatch, "epoch_2.pth")
    with pytest.raises(CheckpointError, match=r"epoch_2\.pth cannot be written: No space left"):
        train_here(experiment, tmp_path / "run", keeping(max_keep_ckpts=1))
    assert names(tmp_path / "run") == ["epoch_1.pth"]
    assert (tmp_path / "run/last_checkpoint").read_text() == str(tmp_path / "run/epoch_1.pth")
    monkeypatch.undo()
    train_here(experiment, tmp_path / "run", keeping(max_keep_ckpts=1), resume=True)
    assert names(tmp_path / "run") == ["epoch_2.pth"]


@pytest.mark.slow
def test_run_killed_before_it_removed_the_oldest_does_so_when_resumed(
    experiment, tmp_path, monkeypatch
):
    options = {**keeping(max_keep_ckpts=1), "train_cfg.max_epochs": 3}

    def die(hook, path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patch.setattr(AMFlowCheckpointHook, "_remove", die)
        train_here(experiment, tmp_path / "run", options)
    assert names(tmp_path / "run") == ["epoch_1.pth", "epoch_2.pth"]
    train_here(experiment, tmp_path / "run", options, resume=True)
    assert names(tmp_path / "run") == ["epoch_3.pth"]
    train_here(experiment, tmp_path / "whole", options)
    assert_same_run(tmp_path / "run/epoch_3.pth", tmp_path / "whole/epoch_3.pth")


def rising(monkeypatch, scores):
    """Replace the metrics of successive validations."""
    scores = iter(scores)
    best = AMFlowCheckpointHook._save_best_checkpoint
    monkeypatch.setattr(
        AMFlowCheckpointHook,
        "_save_best_checkpoint",
        lambda hook, runner, metrics: best(hook, runner, next(scores)),
    )


def test_best_one_is_replaced_only_by_a_better_one(experiment, tmp_path, monkeypatch):
    rising(monkeypatch, [{"acc": 0.1}, {"acc": 0.3}, {"acc": 0.2}])
    options = {**keeping(max_keep_ckpts=1, save_best="acc"), "train_cfg.max_epochs": 3}
    runner = train_here(experiment, tmp_path / "run", options)
    assert names(tmp_path / "run") == ["best_acc_epoch_2.pth", "epoch_3.pth"]
    hub = torch.load(tmp_path / "run/epoch_3.pth")["message_hub"]["runtime_info"]
    assert hub["best_ckpt"] == str(tmp_path / "run/best_acc_epoch_2.pth")
    assert runner.message_hub.get_info("best_score") == 0.3


def test_best_ones_of_several_metrics(experiment, tmp_path, monkeypatch):
    rising(monkeypatch, [{"acc": 0.1, "loss": 1.0}, {"acc": 0.3, "loss": 2.0}])
    options = {**keeping(max_keep_ckpts=1, save_best=["acc", "loss"])}
    train_here(experiment, tmp_path / "run", options)
    assert names(tmp_path / "run") == [
        "best_acc_epoch_2.pth", "best_loss_epoch_1.pth", "epoch_2.pth"
    ]  # fmt: skip


def test_best_one_is_found_by_name(experiment, tmp_path, monkeypatch):
    rising(monkeypatch, [{"acc": 0.1}, {"acc": 0.3}])
    train_here(experiment, tmp_path / "run", keeping(max_keep_ckpts=1, save_best="auto"))
    assert names(tmp_path / "run") == ["best_acc_epoch_2.pth", "epoch_2.pth"]


def test_best_one_stays_until_the_better_one_stands(experiment, tmp_path, monkeypatch):
    rising(monkeypatch, [{"acc": 0.1}, {"acc": 0.3}])
    seen = fail_at(monkeypatch, "best_acc_epoch_2.pth")
    with pytest.raises(CheckpointError, match=r"best_acc_epoch_2\.pth cannot be written"):
        train_here(experiment, tmp_path / "run", keeping(max_keep_ckpts=1, save_best="acc"))
    assert "best_acc_epoch_1.pth" in seen
    assert names(tmp_path / "run") == ["best_acc_epoch_1.pth", "epoch_2.pth"]


@pytest.mark.slow
def test_resumed_run_removes_the_best_one_of_the_run_before(experiment, tmp_path, monkeypatch):
    rising(monkeypatch, [{"acc": 0.1}, {"acc": 0.3}])
    options = keeping(save_best="acc")
    train_here(experiment, tmp_path / "run", {**options, "train_cfg.max_epochs": 1})
    train_here(experiment, tmp_path / "run", options, resume=True)
    assert names(tmp_path / "run") == ["best_acc_epoch_2.pth", "epoch_1.pth", "epoch_2.pth"]


@pytest.mark.slow
def test_other_folder(experiment, tmp_path):
    options = keeping(out_dir=str(tmp_path / "elsewhere"), max_keep_ckpts=1)
    train_here(experiment, tmp_path / "run", {**options, "train_cfg.max_epochs": 1})
    assert names(tmp_path / "run") == []
    noted = tmp_path / "elsewhere/run/epoch_1.pth"
    assert (tmp_path / "run/last_checkpoint").read_text() == str(noted)
    train_here(experiment, tmp_path / "run", options, resume=True)
    assert names(tmp_path / "elsewhere/run") == ["epoch_2.pth"]


def test_half_written_files_of_a_killed_run_are_cleared_away(experiment, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.epoch_7.pth-0123.part").write_bytes(b"half a checkpoint")
    runner = train_here(experiment, tmp_path / "run")
    assert not list((tmp_path / "run").glob(".*"))
    log = (tmp_path / "run" / runner.timestamp / f"{runner.timestamp}.log").read_text()
    assert "epoch_7.pth-0123.part, which a run left half-written" in log


class Bucket(BaseStorageBackend):
    """A storage that is no disk; MMEngine's own ones need accounts."""

    def get(self, filepath):
        raise NotImplementedError

    get_text = get

    def join_path(self, *parts):
        return "/".join(parts)


def test_storage_of_mmengine_is_written_by_it(experiment, tmp_path, monkeypatch):
    """One that is no disk has its own way to store a file whole."""
    written = []
    monkeypatch.setitem(backends, "bucket", Bucket)
    monkeypatch.setattr(
        "amflow_mm.engine.run_state.save_checkpoint",
        lambda checkpoint, path, backend_args: written.append((path, backend_args)),
    )
    runner = train_here(experiment, tmp_path / "run", {"train_cfg.max_epochs": 1})
    assert written == []
    args = {"backend": "bucket"}
    runner.save_checkpoint("bucket://run", "x.pth", backend_args=args)
    assert written == [("bucket://run/x.pth", args)]


def test_misspelt_option_is_found(experiment, tmp_path):
    cfg = make_config(experiment, tmp_path / "run", keeping(max_keep_ckpt=1))
    with pytest.raises(ConfigError, match="max_keep_ckpt'; did you mean 'max_keep_ckpts'"):
        check_config(cfg)


def test_successor_of_an_old_option_is_named(experiment, tmp_path):
    runner = AMFlowRunner.from_cfg(make_config(experiment, tmp_path / "run"))
    with pytest.raises(ValueError, match="file_client_args is not offered; use backend_args"):
        runner.save_checkpoint(str(tmp_path), "x.pth", {"backend": "disk"})


def test_other_runner_is_refused(experiment, tmp_path):
    cfg = make_config(experiment, tmp_path / "run", keeping())
    with pytest.raises(TypeError, match="works with AMFlowRunner, not Runner: set runner_type"):
        Runner.from_cfg(cfg).train()
