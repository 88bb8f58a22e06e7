"""Skipped videos are counted, named once, listed, and stop the run where they are too many."""

import re

import pytest
import torch

from amflow_mm.engine.errors import UserError
from amflow_mm.engine.hooks.skipped_videos_hook import (
    SKIPPED_FILE,
    SkippedVideosHook,
    TooManySkippedError,
    add_to_list,
)
from amflow_mm.engine.runner import AMFlowRunner
from tests.datasets.broken_videos import opened
from tests.engine.fork_server import fork_server
from tests.engine.resumed_runs import train
from tests.engine.skipping_experiment import write_skipping_experiment
from tests.engine.tiny_experiment import make_config, train_here

TRAIN = {
    "a0.mp4": 0, "a1.mp4": 1, "a2.mp4": 2, "b0.mp4": 0, "bad0.mp4": 0, "b1.mp4": 1, "bad1.mp4": 1,
}  # fmt: skip
VAL = {"v0.mp4": 0, "v1.mp4": 1, "badv.mp4": 2, "v2.mp4": 2}
BY_ITERATION = """
train_cfg = dict(by_epoch=False, max_iters=8, val_interval=8)
param_scheduler = []
"""


@pytest.fixture
def experiment(tmp_path):
    return write_skipping_experiment(tmp_path / "experiment", TRAIN, VAL)


def log_of(run):
    (log,) = run.glob("*/*.log")
    return log.read_text()


def counts_of(run):
    return re.findall(
        r"- (\w+[^-]*: \d+ of \d+ samples skipped; unreadable files: \d+)", log_of(run)
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"num_workers": 2}, marks=pytest.mark.slow),
        pytest.param({"num_workers": 2, "persistent_workers": True}, marks=pytest.mark.slow),
    ],
)
def test_every_epoch_is_counted_and_every_file_named_once(experiment, tmp_path, options):
    options = {f"train_dataloader.{key}": value for key, value in options.items()}
    train_here(experiment, tmp_path / "run", options)
    assert counts_of(tmp_path / "run") == [
        "training, epoch 1: 2 of 7 samples skipped; unreadable files: 2",
        "validation: 1 of 4 samples skipped; unreadable files: 1",
        "training, epoch 2: 2 of 7 samples skipped; unreadable files: 2",
        "validation: 1 of 4 samples skipped; unreadable files: 1",
    ]
    log = log_of(tmp_path / "run")
    for name in ("bad0.mp4", "bad1.mp4", "badv.mp4"):
        assert len(re.findall(rf"skipped from now on: \S+/{name}: it is cut off", log)) == 1
    lines = (tmp_path / "run" / SKIPPED_FILE).read_text().splitlines()
    folder = experiment.parent
    assert lines == [
        f"{folder}/train/bad0.mp4\tit is cut off in the middle",
        f"{folder}/train/bad1.mp4\tit is cut off in the middle",
        f"{folder}/val/badv.mp4\tit is cut off in the middle",
    ]
    assert opened(folder / "train")["bad0.mp4"] == 1


def test_epoch_of_a_training_by_iterations_is_once_through_the_loader(tmp_path):
    config = write_skipping_experiment(tmp_path / "experiment", TRAIN, VAL, extra=BY_ITERATION)
    train_here(config, tmp_path / "run")
    assert counts_of(tmp_path / "run") == [
        "training from iteration 1 on: 2 of 7 samples skipped; unreadable files: 2",
        "training from iteration 5 on: 2 of 7 samples skipped; unreadable files: 2",
        "validation: 1 of 4 samples skipped; unreadable files: 1",
    ]


def test_too_many_skipped_samples_stop_the_epoch_where_they_appear(tmp_path):
    """2 of 7 samples; 0.2 of the list are 1.4, so one may be skipped and the second may not."""
    config = write_skipping_experiment(tmp_path / "experiment", TRAIN, VAL, max_skip_fraction=0.2)
    run = tmp_path / "run"
    with pytest.raises(TooManySkippedError) as caught:
        train_here(config, run)
    message = str(caught.value)
    assert re.match(
        r"training, epoch 1: 2 of [2-7] samples so far are skipped, more than "
        r"max_skip_fraction=0\.2 of the list \(7\) allows; .*/skipped_videos\.txt\. ",
        message,
    )
    assert "\n" not in message
    assert len((run / SKIPPED_FILE).read_text().splitlines()) == 2
    assert not (run / "epoch_1.pth").exists()


def test_too_many_skipped_videos_stop_a_validation(tmp_path):
    config = write_skipping_experiment(
        tmp_path / "experiment", {"a0.mp4": 0}, VAL, max_skip_fraction=0.2
    )
    with pytest.raises(TooManySkippedError, match=r"validation: 1 of [34] samples so far"):
        train_here(config, tmp_path / "run")


@pytest.mark.slow
def test_as_many_as_are_allowed_are_let_through(tmp_path):
    config = write_skipping_experiment(tmp_path / "experiment", TRAIN, VAL, max_skip_fraction=2 / 7)
    train_here(config, tmp_path / "run", {"train_cfg.max_epochs": 1})
    assert (tmp_path / "run/epoch_1.pth").exists()


@pytest.mark.slow
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_nothing_broken_changes_nothing(tmp_path, on_error):
    config = write_skipping_experiment(
        tmp_path / "experiment", {"a0.mp4": 0, "a1.mp4": 1}, {"v0.mp4": 0}
    )
    options = {
        f"{loader}.dataset.on_error": on_error for loader in ("train_dataloader", "val_dataloader")
    }
    with_hook = train_here(config, tmp_path / "with", options)
    without = train_here(config, tmp_path / "without", options | {"custom_hooks": []})
    weights = [runner.model.state_dict() for runner in (with_hook, without)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not (tmp_path / "with" / SKIPPED_FILE).exists()
    assert len(counts_of(tmp_path / "with")) == (4 if on_error == "skip" else 0)


@pytest.mark.slow
def test_data_sets_inside_others_are_found(experiment, tmp_path):
    cfg = make_config(experiment, tmp_path / "run", {"train_cfg.max_epochs": 1})
    inner = cfg.train_dataloader.dataset
    inner.max_skip_fraction = 0.1
    joined = {"type": "ConcatDataset", "datasets": [inner]}
    cfg.train_dataloader.dataset = {"type": "RepeatDataset", "times": 2, "dataset": joined}
    with pytest.raises(TooManySkippedError, match=r"of the list \(14\)"):
        AMFlowRunner.from_cfg(cfg).train()


@pytest.mark.parametrize("metric", ["AccMetric", "ConfusionMatrix"])
def test_metrics_that_count_stand_ins_are_refused_before_the_first_epoch(
    experiment, tmp_path, metric
):
    with pytest.raises(UserError, match=rf"{metric} counts what stands in .* use VideoAccuracy"):
        train_here(experiment, tmp_path / "run", {"val_evaluator.type": metric})
    assert not (experiment.parent / "train/opened.txt").exists()


@pytest.mark.slow
def test_such_metrics_are_welcome_where_nothing_is_skipped(experiment, tmp_path):
    options = {
        "val_evaluator.type": "AccMetric",
        "val_dataloader.dataset.on_error": "raise",
        "val_dataloader.dataset.ann_file": str(experiment.parent / "whole.txt"),
        "train_cfg.max_epochs": 1,
    }
    (experiment.parent / "whole.txt").write_text("v0.mp4 0\n")
    train_here(experiment, tmp_path / "run", options)


def test_interval_must_be_positive():
    with pytest.raises(ValueError, match="interval=0 must be at least 1 batch"):
        SkippedVideosHook(interval=0)


def test_list_of_an_earlier_run_is_kept(tmp_path):
    path = tmp_path / SKIPPED_FILE
    add_to_list(path, {"b c.mp4": "cut off\tor\nso"})
    add_to_list(path, {"a.mp4": "empty", "b c.mp4": "other"})
    assert path.read_text() == "a.mp4\tempty\nb c.mp4\tother\n"


@pytest.mark.slow
@pytest.mark.parametrize("interval", [1, 3])
def test_all_processes_stop_together(tmp_path, interval):
    """Both processes end by themselves with the one-line error, neither waits for the other."""
    labels = {**TRAIN, **{f"bad{i}.mp4": i % 3 for i in range(2, 5)}}
    config = write_skipping_experiment(
        tmp_path / "experiment", labels, VAL, max_skip_fraction=0.3,
        extra=f'custom_hooks[0]["interval"] = {interval}\n',
    )  # fmt: skip
    run = tmp_path / "run"
    with fork_server() as server:
        statuses = train(server, config, run, "--seed", "3", num_processes=2)
    outputs = [(run / f"output_{rank}.txt").read_text() for rank in (0, 1)]
    assert statuses == [2, 2], outputs
    messages = [output.splitlines()[-1] for output in outputs]
    assert messages[0] == messages[1]
    assert re.match(r"error: training, epoch 1: [45] of \d+ samples so far are sk", messages[0])
    listed = (run / SKIPPED_FILE).read_text()
    assert listed.count("\n") >= 4


@pytest.mark.slow
def test_two_processes_count_together(tmp_path):
    """Seven videos and four; one of a process is there twice, and may be a broken one."""
    labels = {**TRAIN, "b2.mp4": 2}
    config = write_skipping_experiment(tmp_path / "experiment", labels, VAL)
    run = tmp_path / "run"
    with fork_server() as server:
        statuses = train(server, config, run, "--seed", "3", num_processes=2)
    assert statuses == [0, 0], (run / "output_0.txt").read_text()
    assert counts_of(run) == [
        "training, epoch 1: 2 of 8 samples skipped; unreadable files: 2",
        "validation: 1 of 4 samples skipped; unreadable files: 1",
        "training, epoch 2: 2 of 8 samples skipped; unreadable files: 2",
        "validation: 1 of 4 samples skipped; unreadable files: 1",
    ]
    assert (run / SKIPPED_FILE).read_text().count("\n") == 3
