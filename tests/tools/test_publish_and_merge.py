"""publish_model.py and merge_adapters.py: small files that score as what they were made of."""

import hashlib
import json
import re
import runpy
import sys

import pytest
import torch

from amflow_mm.engine.checkpoint import read_checkpoint
from amflow_mm.engine.evaluate import evaluate_checkpoint
from amflow_mm.engine.migration import CHECKPOINT_FORMAT
from tests.engine.tiny_backbone import save_image_weights, write_adapted_experiment
from tests.engine.tiny_experiment import ROOT, assert_same, make_config, run_tool, train_here

WITHOUT_WEIGHTS = {"model.backbone.pretrained": None}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("published")


@pytest.fixture(scope="module")
def experiment(folder):
    """Adapters in a tiny image model, averaged while they train."""
    weights = save_image_weights(folder / "image.safetensors", seed=11)
    extra = 'custom_hooks = [dict(type="AMFlowEMAHook", momentum=0.3)]\n'
    return write_adapted_experiment(folder / "experiment", pretrained=weights, extra=extra)


@pytest.fixture(scope="module")
def checkpoint(folder, experiment):
    train_here(experiment, folder / "run")
    return folder / "run/epoch_2.pth"


@pytest.fixture(scope="module")
def scores(folder, experiment, checkpoint):
    """Scores of every clip with the checkpoint of the training."""
    return score(experiment, folder / "tested", checkpoint)


def score(experiment, work_dir, checkpoint, options=None):
    """What test.py finds: metrics and the scores of every clip."""
    cfg = make_config(experiment, work_dir, options)
    dump = work_dir / "scores.json"
    result = evaluate_checkpoint(cfg, str(checkpoint), dump=str(dump))
    return result.metrics, json.loads(dump.read_text())


@pytest.fixture(scope="module")
def published(folder, checkpoint):
    """The two published files, as the tool printed their paths."""
    paths = []
    for option in ([], ["--safetensors"]):
        done = run_tool(
            "convert/publish_model.py", checkpoint, "--out", "public/tiny.pth", "--license",
            "CC-BY-4.0", *option, cwd=folder,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[-1] == "license of trained weights: CC-BY-4.0; image model: not stated"
        paths.append(folder / lines[-3])
    return paths


@pytest.fixture(scope="module")
def merged(folder, experiment, checkpoint):
    done = run_tool(
        "convert/merge_adapters.py", experiment, checkpoint, "--out", "merged.pth", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return folder / "merged.pth"


@pytest.mark.slow
def test_names_hold_the_beginning_of_the_hash(published, folder):
    for path, suffix in zip(published, ("pth", "safetensors"), strict=True):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.name == f"tiny-{digest[:8]}.{suffix}"
    assert sorted((folder / "public").iterdir()) == sorted(published)  # nothing half-written


@pytest.mark.slow
def test_published_is_the_average_with_what_one_must_know(published, checkpoint, experiment):
    trained = read_checkpoint(checkpoint)
    for path in published:
        found = read_checkpoint(path)
        assert set(found) == {"format", "frozen", "meta", "state_dict"}
        assert_same(found["state_dict"], trained["state_dict"], "state_dict")
        assert found["format"] == CHECKPOINT_FORMAT
        assert found["frozen"] == trained["frozen"]
        assert found["frozen"]["left_out"]
        meta = found["meta"]
        assert meta["cfg"] == trained["meta"]["cfg"]
        assert meta["training"]["epoch"] == 2
        assert meta["training"]["mmengine_version"] == trained["meta"]["mmengine_version"]
        assert meta["published_with"]["torch"] == torch.__version__
        assert "epoch" not in meta  # or it would resume, without its optimiser
    assert published[0].stat().st_size < checkpoint.stat().st_size / 2


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_published_scores_as_the_original(folder, experiment, published, scores, index):
    assert score(experiment, folder / f"tested_{index}", published[index]) == scores


@pytest.mark.slow
def test_published_again_is_the_same(folder, published):
    """From safetensors back to a .pth: the same bytes, terms and all."""
    done = run_tool("convert/publish_model.py", published[1], "--out", "again/tiny.pth", cwd=folder)
    assert done.returncode == 0, done.stderr
    (again,) = (folder / "again").iterdir()
    assert_same(read_checkpoint(again), read_checkpoint(published[0]), "again")


@pytest.mark.slow
def test_published_cannot_be_resumed(folder, experiment, published):
    done = run_tool(
        "train.py", experiment, "--resume", published[0], "--work-dir", "never", cwd=folder
    )
    assert done.returncode == 2, done.stderr
    assert "holds weights but no state of a run" in done.stderr


@pytest.mark.slow
def test_merged_holds_all_and_scores_without_the_image_weights(
    folder, experiment, checkpoint, merged, scores
):
    whole, trained = read_checkpoint(merged), read_checkpoint(checkpoint)
    assert whole["frozen"] == {**trained["frozen"], "left_out": []}
    for name, value in trained["state_dict"].items():
        assert torch.equal(whole["state_dict"][name], value)
    added = whole["state_dict"].keys() - trained["state_dict"].keys()
    assert sorted(added) == sorted(trained["frozen"]["left_out"])
    assert score(experiment, folder / "tested_merged", merged, WITHOUT_WEIGHTS) == scores


@pytest.mark.slow
def test_merged_safetensors_pass_test_py_and_merge_again(
    folder, experiment, checkpoint, merged, scores
):
    done = run_tool(
        "convert/merge_adapters.py", experiment, merged, "--out", "merged.safetensors",
        "--cfg-options", "model.backbone.pretrained=no/such.pth", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = run_tool(
        "test.py", experiment, "merged.safetensors", "--work-dir", "tested_by_tool", "--dump",
        "by_tool.json", "--cfg-options", "model.backbone.pretrained=None", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics, clips = scores
    assert json.loads((folder / "tested_by_tool/result.json").read_text())["evaluator"] == metrics
    assert json.loads((folder / "by_tool.json").read_text()) == clips


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a tool in this process; returns exit code and errors."""

    def call(tool, *arguments):
        path = str(ROOT / "tools/convert" / tool)
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(path, run_name="__main__")
        return stop.value.code, capsys.readouterr().err

    return call


@pytest.mark.slow
def test_other_image_model_is_refused_and_both_are_named(call, folder, experiment, checkpoint):
    other = save_image_weights(folder / "other.safetensors", seed=12)
    code, error = call(
        "merge_adapters.py", experiment, checkpoint, "--out", folder / "never.pth",
        "--cfg-options", f"model.backbone.pretrained={other}",
    )  # fmt: skip
    assert code == 2
    line = error.splitlines()[-1]
    assert re.search(r"^error: checkpoint .*image\.safetensors .*; this model's is .*other", line)
    assert not (folder / "never.pth").exists()


@pytest.mark.slow
def test_missing_image_model_is_named(call, folder, experiment, checkpoint):
    code, error = call(
        "merge_adapters.py", experiment, checkpoint, "--out", folder / "never.pth",
        "--cfg-options", "model.backbone.pretrained=no/such.pth",
    )  # fmt: skip
    assert code == 2
    assert "does not hold its frozen backbone" in error
    assert "no/such.pth" in error


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("{folder}/none.pth", "--out", "x.pth"), "checkpoint {folder}/none.pth does not exist"),
        (("x.pth", "--out", "{folder}/x.zip"), "--out {folder}/x.zip must end in one of .pth, .pt"),
        (("{folder}/bare.pth", "--out", "x.pth"), "holds weights alone"),
    ],
)
def test_what_cannot_be_published_is_one_line(call, tmp_path, arguments, part):
    torch.save({"fc.weight": torch.ones(2)}, tmp_path / "bare.pth")
    code, error = call("publish_model.py", *(a.format(folder=tmp_path) for a in arguments))
    assert code == 2
    assert error.splitlines()[-1].startswith("error: ")
    assert part.format(folder=tmp_path) in error
