"""The moving average: against a loop, against MMEngine's, resumed to the bit, small."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from amflow_mm.engine.errors import CheckpointError
from amflow_mm.engine.hooks import AMFlowEMAHook
from amflow_mm.engine.hooks.ema_hook import trained_tree
from amflow_mm.engine.runner import AMFlowRunner
from tests.engine.hooks.ema_parts import WatchHook
from tests.engine.tiny_backbone import save_image_weights, write_adapted_experiment
from tests.engine.tiny_experiment import (
    assert_same,
    assert_same_run,
    make_config,
    run_tool,
    train_here,
    write_experiment,
)

MOMENTUM = 0.3
TRAINED = {
    "position", "mixer.weight", "mixer.bias", "norm.weight", "norm.bias", "cls_head.fc.weight",
    "cls_head.fc.bias",
}  # fmt: skip
IMPORTS = ["tests.engine.tiny_parts", "tests.engine.hooks.ema_parts"]


def with_hook(*others, **arguments):
    """Options of an experiment of eight iterations in two epochs that is averaged and watched."""
    hooks = [{"type": "AMFlowEMAHook", "momentum": MOMENTUM, **arguments}]
    return {
        "custom_imports.imports": IMPORTS,
        "custom_hooks": [*hooks, *({"type": name} for name in others)],
    }


@pytest.fixture
def experiment(tmp_path):
    return write_experiment(tmp_path / "experiment")


def find(runner, kind):
    return next(hook for hook in runner.hooks if isinstance(hook, kind))


def average_in_a_loop(weights, momentum=MOMENTUM):
    """Average as the docstring says, in float64; the first weights are taken as they are."""
    average = {name: value.double() for name, value in weights[0].items()}
    for step in weights[1:]:
        average = {n: (1 - momentum) * average[n] + momentum * step[n].double() for n in average}
    return average


def assert_close(found, expected):
    assert found.keys() >= expected.keys() == TRAINED
    for name, value in expected.items():
        torch.testing.assert_close(found[name].double(), value, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "options", "averaged"),
    [
        ({}, {}, range(8)),
        ({"begin_iter": 3}, {}, range(2, 8)),
        ({"begin_epoch": 2}, {}, range(4, 8)),
        ({"interval": 3}, {}, range(0, 8, 3)),
        ({}, {"optim_wrapper.accumulative_counts": 3}, (2, 5, 7)),  # the last one takes the rest
    ],
    ids=["all", "begin_iter", "begin_epoch", "interval", "accumulation"],
)
def test_average_is_that_of_a_loop(experiment, tmp_path, arguments, options, averaged):
    options = options | with_hook("WatchHook", **arguments)
    runner = train_here(experiment, tmp_path / "run", options)
    watch = find(runner, WatchHook)
    assert len(watch.trained) == 8
    expected = average_in_a_loop([watch.trained[index] for index in averaged])
    checkpoint = torch.load(tmp_path / "run/epoch_2.pth")
    assert_close(checkpoint["state_dict"], expected)
    assert_close(watch.seen[-1], expected)  # what was validated last
    moved = (checkpoint["state_dict"]["mixer.weight"] - watch.trained[-1]["mixer.weight"]).abs()
    assert moved.max() > 1e-3
    for name, value in watch.trained[-1].items():  # what training goes on from
        assert torch.equal(checkpoint["ema_state_dict"][f"module.{name}"], value)
        assert torch.equal(dict(runner.model.named_parameters())[name], value)


@pytest.mark.slow
def test_trained_weights_are_those_of_mmengines_hook(experiment, tmp_path):
    """To the bit, which also says that averaging does not disturb the training."""
    train_here(experiment, tmp_path / "ours", with_hook())
    theirs = {"custom_hooks": [{"type": "mmengine.EMAHook", "momentum": MOMENTUM}]}
    train_here(experiment, tmp_path / "theirs", theirs)
    train_here(experiment, tmp_path / "plain")
    ours, theirs, plain = (
        torch.load(tmp_path / run / "epoch_2.pth") for run in ("ours", "theirs", "plain")
    )
    for name in TRAINED:
        assert torch.equal(ours["state_dict"][name], theirs["state_dict"][name])
        key = f"module.{name}"
        assert torch.equal(ours["ema_state_dict"][key], theirs["ema_state_dict"][key])
        assert torch.equal(ours["ema_state_dict"][key], plain["state_dict"][name])


@pytest.mark.slow
def test_only_trained_tensors_are_held(experiment, tmp_path):
    runner = train_here(experiment, tmp_path / "run", with_hook())
    hook = find(runner, AMFlowEMAHook)
    own = dict(runner.model.named_parameters())
    held = dict(hook.ema_model.module.named_parameters())
    assert held.keys() == TRAINED
    assert sum(value.numel() for value in held.values()) < sum(v.numel() for v in own.values())
    assert not list(hook.ema_model.module.buffers())
    assert not any(held[name].data_ptr() == own[name].data_ptr() for name in held)
    assert all(p is own[name] for name, p in hook.src_model.named_parameters())
    saved = torch.load(tmp_path / "run/epoch_2.pth")
    assert saved["ema_state_dict"].keys() == {"steps"} | {f"module.{name}" for name in TRAINED}
    assert saved["state_dict"].keys() >= TRAINED


@pytest.mark.slow
def test_checkpoint_without_the_image_model_holds_both_sets(tmp_path):
    weights = save_image_weights(tmp_path / "image.safetensors", seed=11)
    experiment = write_adapted_experiment(tmp_path / "adapted", pretrained=weights)
    runner = train_here(experiment, tmp_path / "run", with_hook("WatchHook"))
    expected = average_in_a_loop(find(runner, WatchHook).trained)
    saved = torch.load(tmp_path / "run/epoch_2.pth")
    assert saved["frozen"]["left_out"]
    assert saved["state_dict"].keys() == expected.keys()
    assert saved["ema_state_dict"].keys() == {"steps", *(f"module.{name}" for name in expected)}
    for name, value in expected.items():
        torch.testing.assert_close(
            saved["state_dict"][name].double(), value, rtol=1e-5, atol=1e-7, msg=name
        )
        assert torch.equal(
            saved["ema_state_dict"][f"module.{name}"], runner.model.get_parameter(name)
        )


BY_ITERATION = {
    "train_cfg": {"_delete_": True, "by_epoch": False, "max_iters": 8, "val_interval": 2},
    "param_scheduler": [{"type": "CosineAnnealingLR", "T_max": 8, "end": 8, "by_epoch": False}],
    "default_hooks.checkpoint": {"type": "CheckpointHook", "interval": 2, "by_epoch": False},
}


# MMEngine steps a schedule by iterations before the first accumulated step of the optimiser.
@pytest.mark.filterwarnings("ignore:Detected call of `scheduler.step")
@pytest.mark.slow
@pytest.mark.parametrize("arguments", [{}, {"begin_iter": 6}, {"interval": 2}])
def test_resumed_average_is_that_of_the_uninterrupted_run(experiment, tmp_path, arguments):
    options = BY_ITERATION | {"model.dropout": 0.5, "optim_wrapper.accumulative_counts": 2}
    options |= with_hook(**arguments)
    train_here(experiment, tmp_path / "whole", options)
    stopped = {"load_from": str(tmp_path / "whole/iter_4.pth")}
    train_here(experiment, tmp_path / "parts", options | stopped, resume=True)
    found, expected = (torch.load(tmp_path / run / "iter_8.pth") for run in ("parts", "whole"))
    assert_same(found["ema_state_dict"], expected["ema_state_dict"], "ema_state_dict")
    assert_same_run(tmp_path / "parts/iter_8.pth", tmp_path / "whole/iter_8.pth")


@pytest.mark.slow
def test_average_of_mmengines_hook_is_taken_over(experiment, tmp_path):
    train_here(experiment, tmp_path / "whole", with_hook())
    theirs = {"custom_hooks": [{"type": "mmengine.EMAHook", "momentum": MOMENTUM}]}
    train_here(experiment, tmp_path / "parts", theirs | {"train_cfg.max_epochs": 1})
    train_here(experiment, tmp_path / "parts", with_hook(), resume=True)
    assert_same_run(tmp_path / "parts/epoch_2.pth", tmp_path / "whole/epoch_2.pth")


@pytest.mark.slow
def test_average_is_what_a_test_sees_with_and_without_the_hook(experiment, tmp_path):
    train_here(experiment, tmp_path / "run", with_hook())
    path = tmp_path / "run/epoch_2.pth"
    average = torch.load(path)["state_dict"]
    for hooks in (with_hook("WatchHook"), with_hook("WatchHook", begin_epoch=2)):
        cfg = make_config(experiment, tmp_path / "tested", hooks)
        cfg.load_from = str(path)
        runner = AMFlowRunner.from_cfg(cfg)
        runner.test()
        seen = find(runner, WatchHook).seen[0]
        assert all(torch.equal(seen[name], average[name]) for name in TRAINED)


@pytest.mark.slow
def test_saved_while_validating_is_as_saved_outside(experiment, tmp_path):
    """The checkpoint of epoch 1 is saved between; its validation comes last."""
    options = with_hook("SaveInValidationHook") | {"train_cfg.max_epochs": 1}
    train_here(experiment, tmp_path / "run", options)
    inside, outside = (
        torch.load(tmp_path / "run" / name) for name in ("in_validation.pth", "epoch_1.pth")
    )
    assert_same(inside["state_dict"], outside["state_dict"], "state_dict")
    assert_same(inside["ema_state_dict"], outside["ema_state_dict"], "ema_state_dict")


@pytest.mark.slow
def test_before_the_first_step_there_is_nothing_to_swap(experiment, tmp_path):
    options = with_hook("WatchHook", begin_epoch=2) | {"train_cfg.val_interval": 1}
    watch = find(train_here(experiment, tmp_path / "run", options), WatchHook)
    assert torch.equal(watch.seen[0]["mixer.weight"], watch.trained[3]["mixer.weight"])
    saved = torch.load(tmp_path / "run/epoch_1.pth")
    assert saved["ema_state_dict"] == {"steps": torch.tensor(0)}
    assert torch.equal(saved["state_dict"]["mixer.weight"], watch.trained[3]["mixer.weight"])


@pytest.mark.slow
def test_resuming_a_run_without_average_says_so(experiment, tmp_path):
    train_here(experiment, tmp_path / "run", {"train_cfg.max_epochs": 1})
    runner = train_here(experiment, tmp_path / "run", with_hook("WatchHook"), resume=True)
    log = (tmp_path / "run" / runner.timestamp / f"{runner.timestamp}.log").read_text()
    assert "holds no moving average (ema_state_dict); a new one begins" in log
    expected = average_in_a_loop(find(runner, WatchHook).trained)
    assert_close(torch.load(tmp_path / "run/epoch_2.pth")["state_dict"], expected)


@pytest.mark.slow
def test_two_processes_have_the_average_of_one_with_the_doubled_batch(tmp_path):
    extra = f"""
optim_wrapper["optimizer"] = dict(type="SGD", lr=0.1, momentum=0.9)
custom_imports["imports"] = {IMPORTS}
custom_hooks = [
    dict(type="AMFlowEMAHook", momentum={MOMENTUM}), dict(type="SaveEachRankHook")
]
"""
    experiment = write_experiment(tmp_path / "experiment", extra=extra)
    done = run_tool(
        "dist_train.sh", experiment, "2", "--seed", "3", "--work-dir", "two", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    ranks = [torch.load(tmp_path / f"two/average_{rank}.pt") for rank in (0, 1)]
    assert_same(ranks[0], ranks[1], "average of each process")
    train_here(experiment, tmp_path / "one", {"train_dataloader.batch_size": 4})
    one, two = (torch.load(tmp_path / run / "epoch_2.pth") for run in ("one", "two"))
    for name in TRAINED:
        torch.testing.assert_close(two["state_dict"][name], one["state_dict"][name])
        assert torch.equal(two["state_dict"][name], ranks[0][f"module.{name}"])


def test_tree_has_the_models_own_parameters_under_their_names():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5)))
    model[0].requires_grad_(False)
    model[1][0].bias.requires_grad_(False)
    tree = dict(trained_tree(model).named_parameters())
    assert list(tree) == ["1.0.weight", "1.1.weight", "1.1.bias"]
    assert all(tree[name] is dict(model.named_parameters())[name] for name in tree)
    assert not dict(trained_tree(model).named_buffers())


@pytest.fixture
def prepared():
    """A hook before a run of three epochs, with a model half frozen."""

    def prepare(**arguments):
        model = nn.ModuleDict({"frozen": nn.Linear(2, 3), "head": nn.Linear(3, 5)})
        model["frozen"].requires_grad_(False)
        runner = SimpleNamespace(model=model, max_epochs=3, max_iters=12, _resume=True)
        hook = AMFlowEMAHook(**arguments)
        hook.before_run(runner)
        return hook, runner

    return prepare


def other_shape(checkpoint):
    checkpoint["ema_state_dict"]["module.head.bias"] = torch.ones(7)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda checkpoint: checkpoint["ema_state_dict"].pop("module.head.bias"),
         r"module\.head\.bias is missing, expected \(5,\)"),
        (other_shape, r"module\.head\.bias is \(7,\), expected \(5,\)"),
        (lambda checkpoint: checkpoint["state_dict"].pop("head.weight"),
         r"head\.weight is missing, expected \(5, 3\)"),
    ],
)  # fmt: skip
def test_average_of_other_weights_is_refused(prepared, change, part):
    hook, runner = prepared()
    hook.ema_model.update_parameters(hook.src_model)
    checkpoint = {"state_dict": dict(runner.model.state_dict())}
    hook.before_save_checkpoint(runner, checkpoint)
    change(checkpoint)
    with pytest.raises(CheckpointError, match=rf"{part}; resume with the config"):
        hook.after_load_checkpoint(runner, checkpoint)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"momentum": 1.0}, r"momentum=1\.0 must be between 0 and 1"),
        ({"momentum": 0.0}, r"momentum=0\.0 must be between 0 and 1"),
        ({"interval": 0}, "interval=0 must be at least 1"),
        ({"begin_iter": -1}, "begin_iter=-1 must not be negative"),
        ({"begin_epoch": -2}, "begin_epoch=-2 must not be negative"),
        ({"begin_iter": 1, "begin_epoch": 1}, "begin_iter=1 and begin_epoch=1 exclude each other"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AMFlowEMAHook(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"begin_epoch": 4}, "begin_epoch=4 must be at most 3"),
     ({"begin_iter": 13}, "begin_iter=13 must be at most 12")],
)  # fmt: skip
def test_average_that_would_never_begin_is_refused(prepared, arguments, message):
    hook, runner = prepared(**arguments)
    with pytest.raises(ValueError, match=message):
        hook.before_train(runner)
