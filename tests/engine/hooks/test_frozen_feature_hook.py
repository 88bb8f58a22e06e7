"""Frozen features are computed once and then serve every run that may use them, to the bit."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from amflow_mm.engine.runner import AMFlowRunner
from amflow_mm.models.backbones import AMFlowSideViT
from amflow_mm.models.peft import trainable_state_dict
from tests.datasets.array_videos import FLIP, write_videos
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
from tests.models.tiny import ENCODER, in_block, side

pytestmark = pytest.mark.usefixtures("plain_configs")


def assert_same_weights(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


ONCE = [2] * (NUM_TRAIN // 2) + [2 * VAL_VIEWS] * (NUM_VAL // 2)
SIZED = [1, VAL_VIEWS]
"""A video of each data set, whose features tell how large they all will be."""


# ---------------------------------------------------------------- the same numbers, once


@pytest.mark.parametrize("neck", ["AMFlow", "FeatureFlow"])
def test_kept_features_train_as_the_clips_do_to_the_bit(folder, passes, neck):
    kept = train(folder, neck={"type": neck})
    assert passes == SIZED + ONCE
    assert kept.train_dataloader.dataset.is_attached
    passes.clear()
    plain = train(folder, neck={"type": neck}, is_kept=False)
    assert len(passes) == 2 * len(ONCE)
    assert_same_weights(kept.model.state_dict(), plain.model.state_dict())
    for name in ("acc/top1", "acc/mean1"):
        found, expected = (r.message_hub.get_scalar(f"val/{name}").data[0] for r in (kept, plain))
        assert found.tolist() == expected.tolist()


def test_training_moves_the_ladder(folder):
    model = train(folder).model
    fresh = AMFlowRunner.from_cfg(make_config(folder)).model
    fresh.init_weights()
    for name, value in trainable_state_dict(fresh).items():
        assert not torch.equal(model.state_dict()[name], value), name


def test_a_second_run_computes_nothing(folder, passes):
    first = train(folder)
    passes.clear()
    before = contents_of(folder)
    second = train(folder)
    assert passes == []
    assert contents_of(folder) == before
    assert_same_weights(second.model.state_dict(), first.model.state_dict())


def test_workers_serve_the_features_too(folder, passes):
    expected = train(folder).model.state_dict()
    config = make_config(folder)
    config.train_dataloader.num_workers = 1
    config.custom_hooks[0].num_workers = 1
    runner = AMFlowRunner.from_cfg(config)
    runner.train()
    assert passes == SIZED + ONCE
    assert_same_weights(runner.model.state_dict(), expected)


@pytest.mark.parametrize(
    ("neck", "output"),
    [
        ({"type": "UniformFlow"}, "sum"),
        ({"type": "FeatureFlow"}, "sum"),
        ({"type": "ShuffledFlow", "flow": COLUMN}, "sum"),
        (COLUMN, "ladder"),
        (None, "frozen"),
    ],
)
def test_models_that_need_no_other_features_compute_nothing(folder, passes, neck, output):
    train(folder)
    passes.clear()
    train(folder, neck=neck, backbone=side(output=output))
    assert passes == []


def test_another_flow_is_computed_beside_the_same_tokens(folder, passes):
    train(folder)
    before = contents_of(folder)
    passes.clear()
    train(folder, neck={"type": "AMFlow", "normalize": "row"})
    assert passes == SIZED + ONCE
    after = contents_of(folder)
    assert {path: after[path] for path in before} == before
    assert len(folders_of(folder, "tokens")) == 2
    assert len(folders_of(folder, "flow")) == 4


def test_a_test_on_its_own_computes_the_test_set_alone(folder, passes):
    runner = AMFlowRunner.from_cfg(make_config(folder))
    metrics = runner.test()
    assert passes == [VAL_VIEWS] + [2 * VAL_VIEWS] * (NUM_VAL // 2)
    plain = AMFlowRunner.from_cfg(make_config(folder, is_kept=False)).test()
    assert metrics == plain


def test_a_validation_on_its_own_computes_the_validation_set_alone(folder, passes):
    AMFlowRunner.from_cfg(make_config(folder)).val()
    assert passes == [VAL_VIEWS] + [2 * VAL_VIEWS] * (NUM_VAL // 2)


def test_training_without_validation_computes_the_training_set_alone(folder, passes):
    config = make_config(folder)
    config.val_dataloader = config.val_cfg = config.val_evaluator = None
    AMFlowRunner.from_cfg(config).train()
    assert passes == [1] + [2] * (NUM_TRAIN // 2)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_iterations_instead_of_epochs(folder, passes, num_workers):
    """Such a loop starts its workers before any hook is called."""
    config = make_config(folder, train_cfg={"by_epoch": False, "max_iters": 4, "val_interval": 4})
    config.train_dataloader.num_workers = num_workers
    runner = AMFlowRunner.from_cfg(config)
    runner.train()
    assert passes == SIZED + ONCE
    plain = train(folder, is_kept=False, train_cfg=config.train_cfg.to_dict())
    assert_same_weights(runner.model.state_dict(), plain.model.state_dict())


def test_other_data_sets_are_left_alone(folder):
    runner = train(folder, is_kept=False)
    assert not (folder / "cache").exists()
    assert runner.iter == NUM_TRAIN


def test_the_bar_tells_what_is_done(folder, capsys):
    train(folder)
    written = capsys.readouterr().err
    assert "frozen features, training: 6/6, done in" in written
    assert "frozen features, validation: 4/4, done in" in written


# ---------------------------------------------------------------- mixed precision


@pytest.mark.parametrize("neck", ["AMFlow", "FeatureFlow"])
def test_autocast_trains_on_the_same_features_kept_or_not(folder, neck):
    """The frozen model runs in float32 either way, and the ladder in bfloat16."""
    wrapper = {
        "type": "AutocastOptimWrapper",
        "where": "anywhere",
        "optimizer": {"type": "AdamW", "lr": 0.01},
        "constructor": "TrainableOptimWrapperConstructor",
    }
    kept, plain = (
        train(folder, neck={"type": neck}, is_kept=is_kept, optim_wrapper=wrapper)
        for is_kept in (True, False)
    )
    assert_same_weights(kept.model.state_dict(), plain.model.state_dict())
    in_float32 = train(folder, neck={"type": neck}).model.state_dict()
    assert any(not torch.equal(in_float32[k], v) for k, v in kept.model.state_dict().items())


def test_features_do_not_depend_on_autocast_around_the_hook(folder):
    train(folder)
    expected = contents_of(folder)
    (folder / "cache").rename(folder / "in_float32")
    with torch.autocast("cpu", torch.bfloat16):
        AMFlowRunner.from_cfg(make_config(folder)).val()
    found = contents_of(folder)
    assert found == {path: expected[path] for path in found}
    assert found


# ---------------------------------------------------------------- several processes

SHARED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import amflow_mm
from amflow_mm.datasets import FeatureStore
from tests.engine.hooks.test_frozen_feature_hook import train_one_by_one

folder, write = Path(sys.argv[1]), FeatureStore.write
def note(self, rows):
    with open(folder / f"rank{os.environ['RANK']}", "a") as file:
        file.write(f"{self.folder.name} {' '.join(map(str, rows))}\\n")
    write(self, rows)
FeatureStore.write = note
train_one_by_one(folder, "pytorch")
"""


def train_one_by_one(folder, launcher):
    """Let the frozen model see one video at a time: sums in a batch may depend on its size."""
    config = make_config(folder, launcher=launcher)
    config.custom_hooks[0].batch_size = 1
    AMFlowRunner.from_cfg(config).train()


@pytest.mark.slow
def test_two_processes_share_the_work_and_keep_what_one_keeps(tmp_path):
    """Of the seven videos the first process has one more; of the single one the other has none."""
    write_videos(tmp_path / "videos", 7, name="train")
    write_videos(tmp_path / "videos", 1, name="val")
    root = str(Path(__file__).parents[3])
    script = tmp_path / "shared.py"
    script.write_text(SHARED)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         str(script), str(tmp_path), root],
        cwd=root, check=False, capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = contents_of(tmp_path)
    names = [path.name for kind in ("tokens", "flow") for path in folders_of(tmp_path, kind)]
    (tmp_path / "cache").rename(tmp_path / "cache_of_two")
    train_one_by_one(tmp_path, "none")
    assert found == contents_of(tmp_path)

    written: list[dict[str, list[int]]] = [{}, {}]
    for rank, rows in enumerate(written):
        for line in (tmp_path / f"rank{rank}").read_text().splitlines():
            name, *numbers = line.split()
            rows.setdefault(name, []).extend(map(int, numbers))
    assert sorted(written[0]) == sorted(names)
    assert sorted(map(tuple, written[0].values())) == [(0,), (0,), (0, 2, 4, 6), (0, 2, 4, 6)]
    assert sorted(map(tuple, written[1].values())) == [(1, 3, 5), (1, 3, 5)]
    bar = [line for line in done.stderr.splitlines() if line.startswith("frozen features, train")]
    assert [line.split()[3] for line in bar] == ["2/7,", "4/7,", "6/7,", "7/7,"]
    assert bar[-1].startswith("frozen features, training: 7/7, done in")


# ---------------------------------------------------------------- interruption


def test_a_run_that_was_cut_off_goes_on_where_it_stopped(folder, monkeypatch, passes):
    expected = train(folder).model.state_dict()
    other = folder / "again"
    write_videos(other / "videos", NUM_TRAIN, name="train")
    write_videos(other / "videos", NUM_VAL, name="val")
    count = AMFlowSideViT.extract_frozen

    def cut_off(self, clips, flow):
        if len(passes) == len(SIZED) + 2:
            raise KeyboardInterrupt
        return count(self, clips, flow)

    passes.clear()
    with monkeypatch.context() as patch:
        patch.setattr(AMFlowSideViT, "extract_frozen", cut_off)
        with pytest.raises(KeyboardInterrupt):
            train(other)
    passes.clear()
    found = train(other).model.state_dict()
    assert passes == [VAL_VIEWS, *ONCE[2:]]
    assert_same_weights(found, expected)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import amflow_mm
from amflow_mm.datasets import FeatureStore
from tests.engine.hooks.frozen_runs import train

write, count = FeatureStore.write, 0
def die(self, rows):
    global count
    count += 1
    if count == 4:  # the flow of the second batch, whose tokens are written
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, rows)
FeatureStore.write = die
train(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(folder, passes):
    root = str(Path(__file__).parents[3])
    command = [sys.executable, "-c", KILLED, str(folder), root]
    finished = subprocess.run(command, cwd=root, check=False, capture_output=True, text=True)
    assert finished.returncode == -signal.SIGKILL, finished.stderr
    found = train(folder).model.state_dict()
    assert passes == [VAL_VIEWS, *ONCE[1:]]
    expected = train(folder, is_kept=False).model.state_dict()
    assert_same_weights(found, expected)


# ---------------------------------------------------------------- stale features


def _change_file(folder, config):
    path = folder / "videos/train_3.npy"
    np.save(path, 255 - np.load(path))


def _change_label(folder, config):
    path = folder / "videos/train.txt"
    path.write_text(path.read_text().replace("train_3.npy 1", "train_3.npy 0"))


def _change_pipeline(folder, config):
    config.train_dataloader.dataset.dataset.pipeline.insert(1, {**FLIP, "flip_ratio": 1.0})


def _change_preprocessing(folder, config):
    config.model.data_preprocessor.mean = (1.0, 2.0, 3.0)


def _change_weights(folder, config):
    config.randomness.seed = 6  # other random weights of the frozen model


def _change_blocks(folder, config):
    config.model.backbone["layers"] = (1, 2)


def _change_readout(folder, config):
    config.model.backbone.readout = "patch"


@pytest.mark.parametrize(
    "change",
    [
        _change_file,
        _change_label,
        _change_pipeline,
        _change_preprocessing,
        _change_weights,
        _change_blocks,
        _change_readout,
    ],
)
def test_stale_features_are_computed_anew(folder, passes, change):
    train(folder)
    passes.clear()
    config = make_config(folder)
    change(folder, config)
    runner = AMFlowRunner.from_cfg(config)
    runner.train()
    assert passes[: 1 + NUM_TRAIN // 2] in ([1] + [2] * (NUM_TRAIN // 2), SIZED + [2] * 2)
    plain = make_config(folder, is_kept=False)
    plain.merge_from_dict({"model": config.model, "randomness": config.randomness})
    plain.train_dataloader.dataset.pipeline = config.train_dataloader.dataset.dataset.pipeline
    expected = AMFlowRunner.from_cfg(plain)
    expected.train()
    assert_same_weights(runner.model.state_dict(), expected.model.state_dict())


def test_options_of_the_aligner_are_not_mixed_up(folder, passes):
    aligner = {"type": "AffineAligner"}
    train(folder, neck={**COLUMN, "aligner": aligner})
    passes.clear()
    train(folder, neck={**COLUMN, "aligner": {**aligner, "window_radius": 1}})
    assert passes == SIZED + ONCE


# ---------------------------------------------------------------- draws


def test_each_draw_has_its_own_features_and_label(folder, passes):
    """A flip swaps the classes: features of a draw must stand beside the label of that draw."""
    runner = train(folder, FLIP, num_draws=3)
    assert passes == SIZED + [2] * (NUM_TRAIN * 3 // 2) + ONCE[NUM_TRAIN // 2 :]
    dataset, model = runner.train_dataloader.dataset, runner.model.eval()
    labels = set()
    for row in range(dataset.num_rows):
        kept = {key: value for store in dataset._stores for key, value in store.read(row).items()}
        drawn = dataset.draw(row)
        clips = model.data_preprocessor({"inputs": [drawn["inputs"]], "data_samples": [None]})
        frozen = model.backbone.extract_frozen(clips["inputs"][0], model.neck)
        assert kept["label"] == drawn["data_samples"].gt_label.item()
        labels.add((row // 3, int(kept["label"])))
        torch.testing.assert_close(torch.from_numpy(kept["vector"]), frozen["vector"])
    assert len(labels) > NUM_TRAIN  # some videos were drawn under both labels


# ---------------------------------------------------------------- refusals


def test_an_aligner_that_is_trained_cannot_be_kept(folder):
    runner = AMFlowRunner.from_cfg(make_config(folder, neck={**COLUMN, "aligner": ENCODER}))
    with pytest.raises(ValueError, match=r"aligning encoder of the neck is trained.*AffineAligner"):
        runner.train()


def test_a_backbone_that_trains_inside_the_frozen_model_cannot_be_kept(folder):
    runner = AMFlowRunner.from_cfg(make_config(folder, backbone=in_block()))
    with pytest.raises(ValueError, match=r"backbone AMFlowViT trains inside.*use AMFlowSideViT"):
        runner.train()


def test_features_that_overflow_half_precision_raise(folder):
    config = make_config(folder)
    config.model.data_preprocessor.std = (1e-5,) * 3
    with pytest.raises(ValueError, match=r"'tokens' is not finite in float16"):
        AMFlowRunner.from_cfg(config).train()
    assert not any((folder / "cache").glob("*"))


def test_no_scratch_folder_is_left(folder):
    train(folder)
    names = {path.name.partition("-")[0] for path in (folder / "cache").iterdir()}
    assert names == {"tokens", "flow"}
    assert all(os.access(path, os.R_OK) for path in (folder / "cache").rglob("*"))
