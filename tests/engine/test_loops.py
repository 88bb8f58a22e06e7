"""The loops leave out what was seen without reading it, and make up for a validation."""

import itertools

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import BatchSampler, Dataset

from amflow_mm.engine.loops import EpochLoop, IterationLoop, batches_after, resumable_loop
from amflow_mm.engine.runner import AMFlowRunner
from amflow_mm.engine.seeding import build_seeded_dataloader
from amflow_mm.registry import DATA_SAMPLERS, DATASETS
from tests.datasets.array_videos import FLIP, write_videos
from tests.engine.hooks.test_frozen_feature_hook import make_config
from tests.engine.resumed_runs import cut_off, history
from tests.engine.tiny_experiment import assert_same, assert_same_run, train_here, write_experiment

BY_ITERATION = {"type": "AMFlowCheckpointHook", "interval": 1, "by_epoch": False}


@pytest.fixture(autouse=True)
def _plain_configs(monkeypatch):
    """Let configs be written as they come: their layout takes two thirds of a tiny run."""
    monkeypatch.setattr("mmengine.config.config.FormatCode", lambda text, **_: (text, False))


@DATASETS.register_module()
class CountingDataset(Dataset):
    """Knows which samples were read."""

    def __init__(self) -> None:
        self.read = []

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> int:
        self.read.append(index)
        return index


@DATA_SAMPLERS.register_module()
class PairSampler(BatchSampler):
    """A batch sampler of the user's own."""

    def __init__(self, sampler, batch_size: int) -> None:
        super().__init__(sampler, batch_size, drop_last=False)


def make_loader(sampler="DefaultSampler", **options):
    init_default_scope("amflow_mm")
    config = {
        "batch_size": 2,
        "num_workers": 0,
        "dataset": {"type": "CountingDataset"},
        "sampler": {"type": sampler, "shuffle": True},
    }
    return build_seeded_dataloader(config | options, 3, diff_rank_seed=False)


@pytest.mark.parametrize("sampler", ["DefaultSampler", "InfiniteSampler"])
@pytest.mark.parametrize("num_seen", [0, 1, 3])
def test_batches_that_were_seen_are_not_read(sampler, num_seen):
    loader = make_loader(sampler)
    expected = list(itertools.islice(loader, 4))
    loader.dataset.read.clear()
    assert (
        list(itertools.islice(batches_after(loader, num_seen), 4 - num_seen))
        == (expected[num_seen:])
    )
    assert loader.dataset.read == list(itertools.chain(*expected[num_seen:]))
    assert list(itertools.islice(loader, 4)) == expected  # left out once


def test_whole_epoch_may_have_been_seen():
    loader = make_loader()
    assert list(batches_after(loader, len(loader))) == []
    assert loader.dataset.read == []


def test_batches_of_a_sampler_of_the_users_own_are_read_and_left_out():
    loader = make_loader(batch_sampler={"type": "PairSampler"})
    expected = list(loader)
    assert list(batches_after(loader, 3)) == expected[3:]


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        ({"by_epoch": True, "max_epochs": 2}, EpochLoop),
        ({"by_epoch": False, "max_iters": 2}, IterationLoop),
        ({"type": EpochBasedTrainLoop, "max_epochs": 2}, EpochLoop),
        ({"type": "IterBasedTrainLoop", "max_iters": 2}, IterationLoop),
        ({"type": "mmengine.runner.EpochBasedTrainLoop", "max_epochs": 2}, EpochLoop),
        ({"type": "MultiLoaderEpochBasedTrainLoop"}, "MultiLoaderEpochBasedTrainLoop"),
    ],
)
def test_loops_of_mmengine_are_replaced_and_others_are_not(loop, expected):
    init_default_scope("amflow_mm")
    found = resumable_loop(loop)
    assert found["type"] == expected
    assert {k: v for k, v in found.items() if k != "type"} == {
        k: v for k, v in loop.items() if k not in ("type", "by_epoch")
    }


def test_built_loop_stays_as_it_is():
    loop = object()
    assert resumable_loop(loop) is loop


def test_half_an_iteration_is_refused(tmp_path):
    experiment = write_experiment(tmp_path / "experiment")
    options = {"train_cfg": {"_delete_": True, "by_epoch": False, "max_iters": 2.5}}
    with pytest.raises(ValueError, match=r"max_iters=2\.5 must be a whole number"):
        train_here(experiment, tmp_path / "run", options)


# ---------------------------------------------------------------- validations that are owed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("save_best", "num_owed"),
    [(None, 1), ("acc/top1", 0)],  # the hook saves again once the best score is known
)
@pytest.mark.parametrize("loop", ["epochs", "iterations"])
def test_validation_is_made_up_for_if_the_checkpoint_came_before(
    tmp_path, monkeypatch, loop, save_best, num_owed
):
    """A run killed between checkpoint and validation must not lose the validation."""
    experiment = write_experiment(tmp_path / "experiment")
    name, last, options = "epoch_1.pth", "epoch_2.pth", {}
    hook = {"type": "AMFlowCheckpointHook", "interval": 1, "save_best": save_best}
    if loop == "iterations":
        name, last = "iter_3.pth", "iter_6.pth"
        hook |= {"by_epoch": False, "interval": 3}
        options["train_cfg"] = {
            "_delete_": True, "by_epoch": False, "max_iters": 6, "val_interval": 3,
        }  # fmt: skip
    options["default_hooks.checkpoint"] = hook
    whole = train_here(experiment, tmp_path / "whole", options)
    cut_off(tmp_path / "whole", tmp_path / "part", checkpoint=name)
    validated = []
    monkeypatch.setattr(EpochLoop, "validate", _count(EpochLoop.validate, validated))
    monkeypatch.setattr(IterationLoop, "validate", _count(IterationLoop.validate, validated))
    part = train_here(experiment, tmp_path / "part", options, resume=True)
    assert len(validated) == 1 + num_owed
    assert_same_run(tmp_path / "part" / last, tmp_path / "whole" / last)
    scores = [run.message_hub.get_scalar("val/acc/top1").data for run in (part, whole)]
    assert len(scores[0][0]) == 2
    assert [part.tolist() for part in scores[0]] == [part.tolist() for part in scores[1]]
    if save_best:
        best = [run.message_hub.get_info("best_score") for run in (part, whole)]
        assert best[0] == best[1]


def _count(validate, calls):
    def counted(self):
        calls.append(self.runner.iter)
        validate(self)

    return counted


# ---------------------------------------------------------------- positions


@pytest.mark.slow
def test_epoch_starts_over_where_its_batches_have_changed(tmp_path):
    experiment = write_experiment(tmp_path / "experiment")
    options = {"default_hooks.checkpoint": BY_ITERATION}
    train_here(experiment, tmp_path / "whole", options)
    cut_off(tmp_path / "whole", tmp_path / "part", checkpoint="iter_6.pth")
    options |= {"train_dataloader.batch_size": 4}
    runner = train_here(experiment, tmp_path / "part", options, resume=True)
    assert (runner.iter, runner.epoch) == (6 + 2, 2)
    log = (tmp_path / "part" / runner.timestamp / f"{runner.timestamp}.log").read_text()
    assert "after 2 batches of epoch 2, iteration 6" in log
    assert "now (2); the epoch starts over" in log


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_endless_sampler_goes_on_where_it_was(tmp_path, num_workers):
    """In the second lap; the read-ahead of workers does not count."""
    experiment = write_experiment(tmp_path / "experiment")
    options = {
        "train_cfg": {"_delete_": True, "by_epoch": False, "max_iters": 7, "val_interval": 9},
        "train_dataloader.sampler": {"type": "InfiniteSampler"},
        "default_hooks.checkpoint": BY_ITERATION,
    }
    train_here(experiment, tmp_path / "whole", options)
    cut_off(tmp_path / "whole", tmp_path / "part", checkpoint="iter_5.pth")
    options["train_dataloader.num_workers"] = num_workers
    train_here(experiment, tmp_path / "part", options, resume=True)
    assert_same_run(tmp_path / "part/iter_7.pth", tmp_path / "whole/iter_7.pth")


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["epochs", "iterations"])
def test_kept_features_resume_exactly(tmp_path, monkeypatch, loop):
    """One of three draws is picked at random for each clip, in the middle of an epoch too."""
    write_videos(tmp_path / "videos", 6, name="train")
    write_videos(tmp_path / "videos", 4, name="val")
    hooks = {"checkpoint": {**BY_ITERATION, "save_best": "acc/top1"}}
    options = {"num_draws": 3, "default_hooks": hooks}
    if loop == "iterations":
        options["train_cfg"] = {"by_epoch": False, "max_iters": 6, "val_interval": 2}

    def train(resume):
        config = make_config(tmp_path, FLIP, **options)
        if resume is not None:
            config.resume, config.load_from = True, str(resume)
        runner = AMFlowRunner.from_cfg(config)
        runner.train()
        return torch.load(f"{runner.work_dir}/iter_6.pth"), runner

    whole, run = train(None)
    resumed, _ = train(f"{run.work_dir}/iter_4.pth")
    for part in ("state_dict", "optimizer"):
        assert_same(resumed[part], whole[part], part)
    assert_same(*(history(state["message_hub"]) for state in (resumed, whole)), "message_hub")


def test_replaced_loops_are_mmengines_to_those_who_ask():
    """MMAction2's visualization hook tells epochs from iterations by the class."""
    assert issubclass(EpochLoop, EpochBasedTrainLoop)
    assert issubclass(IterationLoop, IterBasedTrainLoop)
