"""The runner: exact resume, strict loading, the record, what it refuses."""

import json
import os

import pytest
import torch
from torch.utils.data import TensorDataset

from amflow_mm.engine.config_check import ConfigError
from amflow_mm.engine.errors import CheckpointError, MissingFileError
from amflow_mm.engine.launch import TrainOptions, load_config, set_train_options
from amflow_mm.engine.runner import AMFlowRunner
from tests.engine.tiny_experiment import (
    RANDOM_PIPELINE,
    assert_same_run,
    make_config,
    train_here,
    write_experiment,
)

RANDOM = {
    "model.dropout": 0.5,
    "train_dataloader.dataset.pipeline": RANDOM_PIPELINE,
    "val_dataloader.dataset.pipeline": RANDOM_PIPELINE,
}
BY_ITERATION = {
    "train_cfg": {"_delete_": True, "by_epoch": False, "max_iters": 6, "val_interval": 3},
    "param_scheduler": [{"type": "CosineAnnealingLR", "T_max": 6, "end": 6, "by_epoch": False}],
    "default_hooks.checkpoint": {"type": "CheckpointHook", "interval": 3, "by_epoch": False},
}


@pytest.fixture
def experiment(tmp_path):
    return write_experiment(tmp_path / "experiment")


@pytest.mark.slow
@pytest.mark.parametrize(("num_workers", "seed_on_resume"), [(0, None), (1, 3)])
def test_resumed_epochs_repeat_the_uninterrupted_run(
    experiment, tmp_path, num_workers, seed_on_resume
):
    """With random augmentation, dropout, and a validation between that draws numbers too."""
    options = RANDOM | {"train_dataloader.num_workers": num_workers}
    train_here(experiment, tmp_path / "whole", options)
    first = options | {"train_cfg.max_epochs": 1}
    train_here(experiment, tmp_path / "parts", first)
    train_here(experiment, tmp_path / "parts", options, seed=seed_on_resume, resume=True)
    assert_same_run(tmp_path / "parts/epoch_2.pth", tmp_path / "whole/epoch_2.pth")


@pytest.mark.slow
def test_resumed_iterations_repeat_the_uninterrupted_run(experiment, tmp_path):
    options = RANDOM | BY_ITERATION
    train_here(experiment, tmp_path / "whole", options)
    first = BY_ITERATION["train_cfg"] | {"max_iters": 3}
    train_here(experiment, tmp_path / "parts", options | {"train_cfg": first})
    train_here(experiment, tmp_path / "parts", options, resume=True)
    assert_same_run(tmp_path / "parts/iter_6.pth", tmp_path / "whole/iter_6.pth")


@pytest.mark.slow
def test_randomness_is_at_work_in_these_tests(experiment, tmp_path):
    for name, options, seed in (
        ("a", RANDOM, 3),
        ("b", RANDOM, 4),
        ("c", {"model.dropout": 0.5}, 3),
    ):
        train_here(experiment, tmp_path / name, options, seed=seed)
    weights = [
        torch.load(tmp_path / name / "epoch_2.pth")["state_dict"]["mixer.weight"] for name in "abc"
    ]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_other_schedule_in_the_checkpoint_is_told(experiment, tmp_path):
    """MMEngine goes on with the old schedule, without a word."""
    schedule = {"type": "CosineAnnealingLR", "by_epoch": True}  # ends with the training
    train_here(
        experiment, tmp_path / "run", {"param_scheduler": [schedule], "train_cfg.max_epochs": 1}
    )
    runner = train_here(experiment, tmp_path / "run", {"param_scheduler": [schedule]}, resume=True)
    log = (tmp_path / "run" / runner.timestamp / f"{runner.timestamp}.log").read_text()
    assert "CosineAnnealingLR goes on with T_max=1, end=1 of the checkpoint" in log
    assert "instead of T_max=2, end=2" in log


def test_nothing_to_resume_raises_before_anything_is_built(experiment, tmp_path):
    cfg = make_config(experiment, tmp_path / "run")
    cfg.resume = True
    with pytest.raises(MissingFileError, match=rf"nothing to resume in {tmp_path}/run"):
        AMFlowRunner.from_cfg(cfg)
    assert not (tmp_path / "run").exists()


def test_misspelt_key_raises_before_anything_is_built(experiment, tmp_path):
    cfg = make_config(experiment, tmp_path / "run", {"model.cls_head.num_clases": 5})
    with pytest.raises(ConfigError, match="num_clases"):
        AMFlowRunner.from_cfg(cfg)
    assert not (tmp_path / "run").exists()


def test_missing_checkpoint_raises_before_anything_is_built(experiment, tmp_path):
    cfg = make_config(experiment, tmp_path / "run", {"load_from": "nowhere.pth"})
    with pytest.raises(MissingFileError, match=r"checkpoint nowhere\.pth does not exist"):
        AMFlowRunner.from_cfg(cfg)


def test_checkpoint_of_another_model_is_refused(experiment, tmp_path):
    train_here(experiment, tmp_path / "run")
    path = str(tmp_path / "run/epoch_2.pth")
    cfg = make_config(experiment, tmp_path / "other", {"model.cls_head.num_classes": 5})
    cfg.load_from = path
    runner = AMFlowRunner.from_cfg(cfg)
    with pytest.raises(CheckpointError, match=r"cls_head\.fc\.weight is \(3, 7\).*num_classes"):
        runner.test()


def test_partial_loading_is_not_offered(experiment, tmp_path):
    runner = AMFlowRunner.from_cfg(make_config(experiment, tmp_path / "run"))
    with pytest.raises(ValueError, match="strict=False is not offered"):
        runner.load_checkpoint("x.pth", strict=False)


def test_frozen_parameters_stay_and_are_not_in_the_optimiser(experiment, tmp_path):
    options = {"custom_hooks": [{"type": "ParameterReportHook"}]}
    train_here(experiment, tmp_path / "run", options | {"train_cfg.max_epochs": 1})
    first = torch.load(tmp_path / "run/epoch_1.pth")
    train_here(experiment, tmp_path / "run", options, resume=True)
    second = torch.load(tmp_path / "run/epoch_2.pth")
    moved = {
        key
        for key, value in second["state_dict"].items()
        if not torch.equal(value, first["state_dict"][key])
    }
    assert moved == {
        "position",
        "mixer.weight",
        "mixer.bias",
        "norm.weight",
        "norm.bias",
        "cls_head.fc.weight",
        "cls_head.fc.bias",
    }
    assert len(second["optimizer"]["state"]) == len(moved)


def test_record_tells_how_to_repeat_the_run(experiment, tmp_path):
    runner = train_here(experiment, tmp_path / "run", {"optim_wrapper.optimizer.lr": 0.5}, seed=11)
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["seed"] == 11
    assert record["config"] == str(experiment)
    assert record["world_size"] == 1
    assert record["resumed_from"] is None
    resolved = load_config(record["resolved_config"])
    assert resolved.optim_wrapper.optimizer.lr == 0.5
    assert resolved.randomness.seed == 11
    beside_log = json.loads((tmp_path / "run" / runner.timestamp / "run.json").read_text())
    assert beside_log == record


def test_random_seed_is_recorded_and_resuming_is_told(experiment, tmp_path):
    runner = train_here(experiment, tmp_path / "run", {"train_cfg.max_epochs": 1}, seed=None)
    assert json.loads((tmp_path / "run/run.json").read_text())["seed"] == runner.seed
    train_here(experiment, tmp_path / "run", seed=None, resume=True)
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert record["seed"] == runner.seed
    assert record["resumed_from"] == str(tmp_path / "run/epoch_1.pth")


def test_a_test_leaves_the_record_of_the_training(experiment, tmp_path):
    train_here(experiment, tmp_path / "run")
    before = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()}
    cfg = make_config(experiment, tmp_path / "run", {"optim_wrapper.optimizer.lr": 7})
    cfg.load_from = str(tmp_path / "run/epoch_2.pth")
    AMFlowRunner.from_cfg(cfg).test()
    after = {p.name: p.read_bytes() for p in (tmp_path / "run").iterdir() if p.is_file()}
    assert after == before


def test_mixed_precision_trains(experiment, tmp_path):
    options = {"optim_wrapper.type": "AutocastOptimWrapper", "optim_wrapper.where": "anywhere"}
    train_here(experiment, tmp_path / "half", options)
    train_here(experiment, tmp_path / "full")
    half, full = (
        torch.load(tmp_path / name / "epoch_2.pth")["state_dict"] for name in ("half", "full")
    )
    assert not torch.equal(half["mixer.weight"], full["mixer.weight"])
    torch.testing.assert_close(half["mixer.weight"], full["mixer.weight"], atol=0.05, rtol=0)


def test_deterministic_run_tells_cublas(experiment, tmp_path, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cfg = make_config(experiment, tmp_path / "run")
    cfg.randomness.deterministic = True
    try:
        runner = AMFlowRunner.from_cfg(cfg)
        assert torch.are_deterministic_algorithms_enabled()
        assert runner.deterministic
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False


def test_flow_statistics_and_progress_ride_along(experiment, tmp_path, capsys):
    options = {
        "custom_hooks": [{"type": "FlowStatisticsHook", "interval": 2}, {"type": "ProgressHook"}]
    }
    runner = train_here(experiment, tmp_path / "run", options)
    flow = runner.message_hub.get_scalar("train/flow_mean")
    assert len(flow.data[0]) == 4
    assert flow.current() == pytest.approx(1.0)
    error = capsys.readouterr().err
    assert "training: 8/8, done in" in error
    assert "validation: 3/3, done in" in error
    log = (tmp_path / "run" / runner.timestamp / f"{runner.timestamp}.log").read_text()
    assert "flow_mean: 1.0000" in log
    train_here(experiment, tmp_path / "plain")
    assert_same_run(tmp_path / "run/epoch_2.pth", tmp_path / "plain/epoch_2.pth")


def test_training_without_validation_keeps_best_checkpoint_hook_quiet(experiment, tmp_path):
    options = {"default_hooks.checkpoint": {"type": "CheckpointHook", "save_best": "acc/top1"}}
    cfg = make_config(experiment, tmp_path / "run", options)
    set_train_options(cfg, TrainOptions(validate=False))
    runner = AMFlowRunner.from_cfg(cfg)
    runner.train()
    assert runner.val_loop is None
    assert (tmp_path / "run/epoch_2.pth").exists()
    assert not list((tmp_path / "run").glob("best_*"))


def test_learning_rate_is_scaled_to_the_batch(experiment, tmp_path):
    cfg = make_config(experiment, tmp_path / "run", {"auto_scale_lr": {"base_batch_size": 8}})
    set_train_options(cfg, TrainOptions(auto_scale_lr=True))
    runner = AMFlowRunner.from_cfg(cfg)
    runner.train()
    groups = runner.optim_wrapper.optimizer.param_groups
    assert {group["initial_lr"] for group in groups} == {0.01 * 2 / 8}


NEW_STYLE = """
from mmengine.config import read_base
from mmengine.optim import OptimWrapper

with read_base():
    from .{base} import *

from mmaction.datasets import VideoDataset
from tests.engine.tiny_parts import TinyHead, TinyRecognizer
from amflow_mm.engine import AMFlowRunner, TrainableOptimWrapperConstructor

runner_type = AMFlowRunner
model.update(type=TinyRecognizer, cls_head=dict(type=TinyHead, num_classes=3))
optim_wrapper.update(type=OptimWrapper, constructor=TrainableOptimWrapperConstructor)
train_dataloader.dataset.update(type=VideoDataset)
"""


@pytest.mark.slow
def test_new_style_config_trains_like_the_classic_one(experiment, tmp_path):
    """Classes as types, ``read_base``, overrides from the command line; then from its dump."""
    new_style = experiment.with_name("new_style.py")
    new_style.write_text(NEW_STYLE.format(base=experiment.stem))
    options = {"optim_wrapper.optimizer.lr": 0.02, "model.dropout": 0.25}
    train_here(new_style, tmp_path / "new", options)
    train_here(experiment, tmp_path / "classic", options)
    train_here(tmp_path / "new/new_style.py", tmp_path / "dumped")
    assert_same_run(tmp_path / "new/epoch_2.pth", tmp_path / "classic/epoch_2.pth")
    assert_same_run(tmp_path / "new/epoch_2.pth", tmp_path / "dumped/epoch_2.pth")


@pytest.mark.parametrize("has_gpu", [False, True])
@pytest.mark.parametrize("seed", [None, 1])
def test_loaders_pin_what_they_load_where_there_is_a_gpu(has_gpu, seed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    config = {
        "batch_size": 1,
        "num_workers": 0,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": TensorDataset(torch.zeros(2)),
    }
    assert AMFlowRunner.build_dataloader(config, seed=seed).pin_memory == has_gpu
    config["pin_memory"] = not has_gpu
    assert AMFlowRunner.build_dataloader(config, seed=seed).pin_memory != has_gpu
    assert config.keys() == {"batch_size", "num_workers", "sampler", "dataset", "pin_memory"}
