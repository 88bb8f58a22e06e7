"""Checkpoints without the frozen image model: what is inside, and that nothing else is lost."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from amflow_mm.engine import frozen_identity
from amflow_mm.engine.errors import CheckpointError
from amflow_mm.engine.evaluate import evaluate_checkpoint
from amflow_mm.engine.frozen_identity import digest_tensors, frozen_tensors
from amflow_mm.engine.runner import AMFlowRunner
from amflow_mm.models import ImageViT
from tests.engine.tiny_backbone import (
    FULL,
    SIZE,
    TRAINED_PARTS,
    save_image_weights,
    write_adapted_experiment,
)
from tests.engine.tiny_experiment import (
    assert_same,
    assert_same_run,
    make_config,
    run_tool,
    train_here,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def weights(folder):
    return save_image_weights(folder / "image.safetensors", seed=1)


@pytest.fixture(scope="module")
def experiment(folder, weights):
    return write_adapted_experiment(folder / "experiment", pretrained=weights)


@pytest.fixture(scope="module")
def run(folder, experiment):
    """The work folder of a training that kept the best checkpoint too."""
    best = {"type": "AMFlowCheckpointHook", "interval": 1, "save_best": "acc/top1"}
    train_here(experiment, folder / "run", {"default_hooks.checkpoint": best})
    return folder / "run"


@pytest.fixture(scope="module")
def full_run(folder, experiment):
    train_here(experiment, folder / "full", {"default_hooks.checkpoint": FULL})
    return folder / "full"


def image_weights_of(state_dict):
    """Names of the image model inside, trained or not, by what an ImageViT has."""
    own = ImageViT(SIZE, family="timm", image_size=2).state_dict()
    return {name for name in state_dict if name.removeprefix("backbone.") in own}


def test_file_holds_what_is_trained_and_nothing_else(run, full_run):
    for name in ("epoch_1.pth", "epoch_2.pth"):
        small, full = (torch.load(folder / name) for folder in (run, full_run))
        trained = {n for n in full["state_dict"] if any(part in n for part in TRAINED_PARTS)}
        assert set(small["state_dict"]) == trained
        assert image_weights_of(trained) == {"backbone.norm.weight", "backbone.norm.bias"}
        assert len(small["optimizer"]["state"]) == len(trained)
        assert set(small["frozen"]["left_out"]) == set(full["state_dict"]) - trained
        assert full["frozen"]["left_out"] == []
        assert_same(
            {name: full["state_dict"][name] for name in trained}, small["state_dict"], "weights"
        )
        assert_same(small["optimizer"], full["optimizer"], "optimizer")
        num_bytes = sum(4 * full["state_dict"][n].numel() for n in small["frozen"]["left_out"])
        saved = (full_run / name).stat().st_size - (run / name).stat().st_size
        assert saved > 0.9 * num_bytes - 100 * len(small["frozen"]["left_out"])


def test_best_checkpoint_is_as_small(run):
    (path,) = run.glob("best_acc_top1_epoch_*.pth")
    best = torch.load(path)
    assert set(best["state_dict"]) == set(torch.load(run / "epoch_2.pth")["state_dict"])
    assert "optimizer" not in best


def test_identity_is_that_of_the_weights(run, weights):
    checkpoint = torch.load(run / "epoch_2.pth")
    model = ImageViT(SIZE, family="timm", image_size=2, pretrained=str(weights))
    model.init_weights()
    left_out = {
        name: model.state_dict()[name.removeprefix("backbone.")]
        for name in checkpoint["frozen"]["left_out"]
    }
    assert checkpoint["frozen"]["sha256"] == digest_tensors(left_out)
    assert checkpoint["frozen"]["name"] == str(weights)


@pytest.mark.slow
def test_resumed_run_repeats_the_uninterrupted_one(folder, experiment, run):
    train_here(experiment, folder / "parts", {"train_cfg.max_epochs": 1})
    train_here(experiment, folder / "parts", resume=True)
    assert_same_run(folder / "parts/epoch_2.pth", run / "epoch_2.pth")


@pytest.mark.slow
@pytest.mark.parametrize("first_is_full", [True, False])
def test_run_goes_on_with_the_other_kind(folder, experiment, run, full_run, first_is_full):
    """Adapters after a full checkpoint and the other way round."""
    work_dir = folder / f"mixed_{first_is_full}"
    first = {"default_hooks.checkpoint": FULL} if first_is_full else {}
    second = {} if first_is_full else {"default_hooks.checkpoint": FULL}
    train_here(experiment, work_dir, {"train_cfg.max_epochs": 1, **first})
    train_here(experiment, work_dir, second, resume=True)
    expected = run if first_is_full else full_run
    assert_same_run(work_dir / "epoch_2.pth", expected / "epoch_2.pth")


def scores_of(experiment, work_dir, checkpoint, options=None):
    cfg = make_config(experiment, work_dir, options)
    return evaluate_checkpoint(cfg, str(checkpoint)).report.figures(), loaded_weights(
        cfg, checkpoint
    )


def loaded_weights(cfg, checkpoint):
    cfg = cfg.copy()
    cfg.load_from, cfg.experiment_name = str(checkpoint), f"{cfg.experiment_name}_again"
    runner = AMFlowRunner.from_cfg(cfg)
    runner.load_or_resume()
    return dict(runner.model.state_dict())


@pytest.mark.slow
def test_both_kinds_test_alike(folder, experiment, run, full_run):
    """MMEngine's test does not initialise a model, so the image model is fetched for it."""
    small = scores_of(experiment, folder / "test_small", run / "epoch_2.pth")
    full = scores_of(experiment, folder / "test_full", full_run / "epoch_2.pth")
    assert_same(small, full, "tested")
    # A full checkpoint needs no source.
    random = {"model.backbone.pretrained": None}
    alone = scores_of(experiment, folder / "alone", full_run / "epoch_2.pth", random)
    assert_same(alone, full, "tested")


def test_frozen_model_is_fetched_once_and_only_where_it_is_lacking(
    folder, experiment, run, full_run, monkeypatch
):
    fetched = []
    init = AMFlowRunner._init_model_weights
    monkeypatch.setattr(
        AMFlowRunner, "_init_model_weights", lambda runner: fetched.append(1) or init(runner)
    )
    cfg = make_config(experiment, folder / "fetched")
    runner = AMFlowRunner.from_cfg(cfg)
    runner.load_checkpoint(str(full_run / "epoch_1.pth"))
    assert fetched == []
    runner.load_checkpoint(str(run / "epoch_1.pth"))
    runner.load_checkpoint(str(run / "epoch_2.pth"))
    assert fetched == [1]


def test_fine_tuning_starts_from_it(folder, experiment, run):
    cfg = make_config(experiment, folder / "tuned", {"optim_wrapper.optimizer.lr": 0.0})
    cfg.load_from = str(run / "epoch_2.pth")
    AMFlowRunner.from_cfg(cfg).train()
    found, expected = (
        torch.load(path / "epoch_2.pth")["state_dict"] for path in (folder / "tuned", run)
    )
    assert_same(found, expected, "weights")


def test_hashing_is_done_once_a_run(folder, experiment, monkeypatch):
    digests = []

    def digest(tensors):
        digests.append(len(tensors))
        return digest_tensors(tensors)

    monkeypatch.setattr(frozen_identity, "digest_tensors", digest)
    train_here(experiment, folder / "hashed", {"train_cfg.max_epochs": 3})
    assert len(list((folder / "hashed").glob("epoch_*.pth"))) == 3
    assert len(digests) == 1


def read_log(runner):
    return Path(runner.log_dir, f"{runner.timestamp}.log").read_text(encoding="utf-8")


def test_random_backbone_is_saved_and_that_is_told_once(folder, experiment):
    random = {"model.backbone.pretrained": None}
    runner = train_here(experiment, folder / "random", random)
    told = "Checkpoints hold the frozen weights too: model.backbone.pretrained names no source"
    assert read_log(runner).count(told) == 1
    checkpoint = torch.load(folder / "random/epoch_2.pth")
    assert set(checkpoint["state_dict"]) == set(runner.model.state_dict())
    assert checkpoint["frozen"]["left_out"] == []
    assert checkpoint["frozen"]["name"] == "random"
    cfg = make_config(experiment, folder / "random_tested", random, seed=99)
    assert_same(
        loaded_weights(cfg, folder / "random/epoch_2.pth"), dict(runner.model.state_dict()), "all"
    )


@pytest.mark.slow
def test_frozen_weights_that_came_from_elsewhere_are_saved(folder, experiment, full_run):
    """A full checkpoint of another image model goes on in a run whose source is not that."""
    other = save_image_weights(folder / "elsewhere.safetensors", seed=5)
    cfg = make_config(experiment, folder / "moved", {"model.backbone.pretrained": str(other)})
    cfg.load_from = str(full_run / "epoch_2.pth")
    runner = AMFlowRunner.from_cfg(cfg)
    runner.train()
    assert "too: they are no longer those of model.backbone.pretrained='" in read_log(runner)
    checkpoint = torch.load(folder / "moved/epoch_2.pth")
    assert checkpoint["frozen"]["left_out"] == []
    assert_same(
        {n: checkpoint["state_dict"][n] for n in frozen_tensors(runner.model)},
        {n: torch.load(cfg.load_from)["state_dict"][n] for n in frozen_tensors(runner.model)},
        "frozen",
    )


def load_into(experiment, work_dir, checkpoint, options):
    runner = AMFlowRunner.from_cfg(make_config(experiment, work_dir, options))
    runner.load_checkpoint(str(checkpoint))


def test_other_backbone_is_refused_and_both_are_named(folder, experiment, run, weights):
    other = save_image_weights(folder / "other.safetensors", seed=2)
    digests = [torch.load(run / "epoch_2.pth")["frozen"]["sha256"]]
    options = {"model.backbone.pretrained": str(other)}
    with pytest.raises(
        CheckpointError,
        match=rf"checkpoint {run}/epoch_2\.pth was trained beside the frozen backbone {weights} "
        rf"\(AMFlowViT, timm, 8 wide, 2 deep, patch 1; sha256 {digests[0][:12]}\) and does not "
        rf"hold it; this model's is {other} \(AMFlowViT, .*; sha256 [0-9a-f]{{12}}\); set model",
    ) as caught:
        load_into(experiment, folder / "refused", run / "epoch_2.pth", options)
    assert str(caught.value).count(digests[0][:12]) == 1


def test_random_backbone_is_refused(folder, experiment, run):
    options = {"model.backbone.pretrained": None}
    with pytest.raises(CheckpointError, match=r"image\.safetensors .* this model's is random \("):
        load_into(experiment, folder / "refused_random", run / "epoch_2.pth", options)


def test_backbone_of_another_size_is_refused(folder, experiment, run):
    size = {**SIZE, "depth": 1}
    path = folder / "shallow.safetensors"
    save_file(ImageViT(size, family="timm", image_size=2).state_dict(), path)
    options = {"model.backbone.variant": size, "model.backbone.pretrained": str(path)}
    with pytest.raises(CheckpointError, match=r"2 deep.*does not hold it.*1 deep"):
        load_into(experiment, folder / "refused_size", run / "epoch_2.pth", options)


def test_source_that_is_gone_is_named(folder, experiment, run, weights):
    options = {"model.backbone.pretrained": str(folder / "gone.safetensors")}
    with pytest.raises(
        CheckpointError,
        match=rf"does not hold its frozen backbone {weights} \(.*\), and "
        r"model\.backbone\.pretrained='.*gone\.safetensors' cannot be had: .*gone",
    ):
        load_into(experiment, folder / "gone", run / "epoch_2.pth", options)


def test_missing_and_reshaped_trained_weights_are_named(folder, experiment, run):
    checkpoint = torch.load(run / "epoch_2.pth")
    del checkpoint["state_dict"]["backbone.blocks.0.after_attention.up.bias"]
    torch.save(checkpoint, folder / "lacking.pth")
    with pytest.raises(CheckpointError, match=r"1 missing \(first: .*0\.after_attention\.up\.bias"):
        load_into(experiment, folder / "lacking", folder / "lacking.pth", {})
    with pytest.raises(CheckpointError, match=r"2 of another shape .*cls_head.*num_classes"):
        load_into(
            experiment, folder / "classes", run / "epoch_2.pth", {"model.cls_head.num_classes": 5}
        )


def test_frozen_weights_that_are_there_in_part_do_not_pass(folder, experiment, full_run):
    checkpoint = torch.load(full_run / "epoch_2.pth")
    del checkpoint["state_dict"]["backbone.embedding.cls_token"]
    torch.save(checkpoint, folder / "part.pth")
    with pytest.raises(CheckpointError, match=r"1 missing \(first: backbone\.embedding\.cls_token"):
        load_into(experiment, folder / "part", folder / "part.pth", {})


@pytest.mark.slow
def test_two_processes_save_and_resume_alike(folder, experiment):
    whole = run_tool(
        "dist_train.sh", experiment, "2", "--seed", "3", "--work-dir", "two", cwd=folder
    )
    assert whole.returncode == 0, whole.stderr
    (folder / "two_parts").mkdir()
    (folder / "two_parts/epoch_1.pth").write_bytes((folder / "two/epoch_1.pth").read_bytes())
    (folder / "two_parts/last_checkpoint").write_text("epoch_1.pth")
    parts = run_tool(
        "dist_train.sh", experiment, "2", "--resume", "--work-dir", "two_parts", cwd=folder
    )
    assert parts.returncode == 0, parts.stderr
    assert_same_run(folder / "two_parts/epoch_2.pth", folder / "two/epoch_2.pth")
    left_out = torch.load(folder / "two/epoch_2.pth")["frozen"]["left_out"]
    assert "backbone.blocks.1.attn.qkv.weight" in left_out
    tested = run_tool(
        "dist_test.sh", experiment, folder / "two/epoch_2.pth", "2", "--work-dir", "two_tested",
        cwd=folder,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stderr


@pytest.mark.slow
def test_wrong_backbone_is_one_line_from_the_tool(folder, experiment, run):
    done = run_tool(
        "test.py", experiment, run / "epoch_2.pth", "--work-dir", "one_line", "--cfg-options",
        "model.backbone.pretrained=None", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "this model's is random" in done.stderr
