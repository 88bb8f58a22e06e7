"""Checkpoints load in full or not at all, and resuming finds something or raises."""

import os

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from torch import nn

from amflow_mm.engine.checkpoint import (
    find_checkpoint_to_resume,
    left_out_names,
    load_strictly,
    read_checkpoint,
    require_file,
    resolve_resume,
    strip_wrapper,
)
from amflow_mm.engine.errors import CheckpointError, MissingFileError, UserError


def make_model(num_classes=3):
    return nn.ModuleDict({"backbone": nn.Linear(5, 7), "cls_head": nn.Linear(7, num_classes)})


def test_weights_that_fit_are_loaded():
    model, other = make_model(), make_model()
    load_strictly(model, other.state_dict(), "x.pth")
    for key, value in other.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)


def test_missing_and_unexpected_keys_are_named_and_nothing_is_loaded():
    model = make_model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    weights = dict(make_model().state_dict())
    weights["backbone.scale"] = weights.pop("backbone.bias")
    with pytest.raises(
        CheckpointError,
        match=r"x\.pth does not fit the model: 1 missing \(first: backbone\.bias\), 1 unexpected "
        r"\(first: backbone\.scale\); the checkpoint belongs to another config",
    ):
        load_strictly(model, weights, "x.pth")
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())


def test_other_number_of_classes_is_recognised():
    with pytest.raises(
        CheckpointError,
        match=r"2 of another shape \(first: cls_head\.weight is \(4, 7\), the model's is \(3, 7\)\)"
        r"; the number of classes differs; set model\.cls_head\.num_classes",
    ):
        load_strictly(make_model(3), make_model(4).state_dict(), "x.pth")


def test_foreign_weights_are_recognised():
    with pytest.raises(CheckpointError, match=r"4 missing .*\(tools/convert\)"):
        load_strictly(make_model(), {"visual.proj": torch.zeros(2)}, "x.pth")


def test_counter_of_old_batch_norms_may_be_missing():
    model = nn.BatchNorm1d(3)
    weights = {k: v for k, v in model.state_dict().items() if k != "num_batches_tracked"}
    weights["weight"] = torch.full((3,), 5.0)
    load_strictly(model, weights, "x.pth")
    assert model.weight[0] == 5


def test_what_is_held_may_lack_and_stays():
    model, other = make_model(), make_model()
    before = model["backbone"].weight.clone()
    weights = {k: v for k, v in other.state_dict().items() if k != "backbone.weight"}
    load_strictly(model, weights, "x.pth", held=["backbone.weight"])
    assert torch.equal(model["backbone"].weight, before)
    assert torch.equal(model["backbone"].bias, other["backbone"].bias)
    del weights["cls_head.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing \(first: cls_head\.bias\);"):
        load_strictly(model, weights, "x.pth", held=["backbone.weight"])


@pytest.mark.parametrize(
    ("frozen", "expected"),
    [(None, []), ({"left_out": []}, []), ({"left_out": ["a", "b"]}, ["b"]), ({}, [])],
)
def test_left_out_is_what_is_named_and_not_there(frozen, expected):
    assert left_out_names({"frozen": frozen}, {"a": torch.zeros(1)}) == expected


def test_older_checkpoints_leave_nothing_out():
    assert left_out_names({"state_dict": {}}, {}) == []


def test_prefix_of_wrapper_is_stripped():
    weights = {"module.a.module.b": torch.zeros(1), "c": torch.ones(1)}
    assert list(strip_wrapper(weights, [(r"^module\.", "")])) == ["a.module.b", "c"]


def test_require_file(tmp_path):
    with pytest.raises(
        MissingFileError, match=r"^list .*/a\.txt \(model\.key\) does not exist; make it$"
    ):
        require_file(tmp_path / "a.txt", "list", named_by="model.key", advice="make it")
    with pytest.raises(MissingFileError, match="does not exist"):
        require_file(tmp_path, "checkpoint")  # a folder is not a file
    with pytest.raises(MissingFileError, match=r"file://.*a\.txt does not exist"):
        require_file(f"file://{tmp_path}/a.txt", "checkpoint")


@pytest.mark.parametrize(
    "path",
    ["https://example.org/a.pth", "s3://bucket/a.pth", "cluster:s3://b/a.pth", "own_store://a.pth"],
)
def test_what_file_back_ends_are_for_is_not_looked_for(path):
    require_file(path, "checkpoint")


def test_files_with_a_scheme_are_read(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(1)}}, tmp_path / "x.pth")
    url = f"file://{tmp_path}/x.pth"
    require_file(url, "checkpoint")
    assert read_checkpoint(url)["state_dict"] == {"a": torch.ones(1)}
    assert CheckpointLoader.load_checkpoint(url)["state_dict"] == {"a": torch.ones(1)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a checkpoint",
        b"half a checkpoint",
        b"\0" * 4096,
        b"\x80\x02N.",
        b"PK\x03\x04" * 9,
    ],
)
def test_file_that_is_no_checkpoint_is_one_line(tmp_path, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.pth cannot be read as a checkpoint") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_file_cut_off_anywhere_is_one_line(tmp_path):
    torch.save({"state_dict": make_model().state_dict()}, tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    for length in range(1, len(whole), 97):
        (tmp_path / "x.pth").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"x\.pth cannot be read as a checkpoint"):
            read_checkpoint(tmp_path / "x.pth")


class Trap:
    def __reduce__(self):
        return print, ("code from the checkpoint runs",)


def test_code_in_a_checkpoint_does_not_run(tmp_path, capsys):
    torch.save({"state_dict": Trap()}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_checkpoint(tmp_path / "x.pth")
    assert "runs" not in capsys.readouterr().out


def test_tensor_alone_is_no_checkpoint(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="holds a Tensor, not a checkpoint"):
        read_checkpoint(tmp_path / "x.pth")


def save_run(folder, *, seed=3, epoch=1, is_noted=True):
    """Save epoch by epoch, a minute apart."""
    folder.mkdir(exist_ok=True)
    path, note = folder / f"epoch_{epoch}.pth", folder / "last_checkpoint"
    meta = {"epoch": epoch, "iter": 4 * epoch, "seed": seed}
    torch.save({"meta": meta, "state_dict": {}, "optimizer": {}}, path)
    os.utime(path, (60 * epoch, 60 * epoch))
    if is_noted:
        note.write_text(str(path))
        os.utime(note, (60 * epoch + 1, 60 * epoch + 1))
    return path


def test_newest_checkpoint_is_found_also_in_a_moved_folder(tmp_path):
    path = save_run(tmp_path / "old")
    assert find_checkpoint_to_resume(tmp_path / "old") == path
    (tmp_path / "old").rename(tmp_path / "new")
    assert find_checkpoint_to_resume(tmp_path / "new") == tmp_path / "new" / "epoch_1.pth"


@pytest.mark.parametrize("content", [None, b"", b"  \n", b"\0" * 30, b"\xff\xfe", b"epoch_2.p"])
def test_newest_readable_checkpoint_takes_the_place_of_a_damaged_note(tmp_path, content):
    for epoch in (1, 2, 3):
        save_run(tmp_path, epoch=epoch)
    (tmp_path / "epoch_3.pth").write_bytes(b"half a checkpoint")
    # The best one is the newest, but has no state of a run.
    torch.save({"meta": {"epoch": 3, "iter": 12}, "state_dict": {}}, tmp_path / "best_acc.pth")
    (tmp_path / "last_checkpoint").unlink()
    if content is not None:
        (tmp_path / "last_checkpoint").write_bytes(content)
    with pytest.warns(
        UserWarning,
        match=r"last_checkpoint (is damaged|does not exist|names .*, which does not exist); "
        r"resuming from .*epoch_2\.pth$",
    ):
        assert find_checkpoint_to_resume(tmp_path) == tmp_path / "epoch_2.pth"


@pytest.mark.parametrize("content", [None, b"", b"half a checkpoint"])
def test_newest_readable_checkpoint_takes_the_place_of_a_damaged_one(tmp_path, content):
    for epoch in (1, 2, 3):
        save_run(tmp_path, epoch=epoch)
    (tmp_path / "epoch_3.pth").unlink()
    if content is not None:
        (tmp_path / "epoch_3.pth").write_bytes(content)
    with pytest.warns(UserWarning, match=r"epoch_3\.pth.*; resuming from .*epoch_2\.pth$"):
        assert find_checkpoint_to_resume(tmp_path) == tmp_path / "epoch_2.pth"


def test_checkpoint_of_a_run_killed_before_its_note_is_found(tmp_path):
    save_run(tmp_path, epoch=1)
    path = save_run(tmp_path, epoch=2, is_noted=False)
    with pytest.warns(UserWarning, match=r"names .*epoch_1\.pth, which is older; resuming from"):
        assert find_checkpoint_to_resume(tmp_path) == path


def test_checkpoint_of_an_earlier_longer_run_is_left_alone(tmp_path):
    save_run(tmp_path, epoch=20, is_noted=False)
    os.utime(tmp_path / "epoch_20.pth", (30, 30))
    assert find_checkpoint_to_resume(tmp_path / save_run(tmp_path).parent).name == "epoch_1.pth"


def test_checkpoint_written_since_that_got_less_far_is_left_alone(tmp_path):
    """A copied folder has its files in any order."""
    for epoch in (1, 2, 3):
        save_run(tmp_path, epoch=epoch)
    os.utime(tmp_path / "epoch_2.pth", (1000, 1000))
    assert find_checkpoint_to_resume(tmp_path).name == "epoch_3.pth"


def test_no_readable_checkpoint_is_nothing_to_resume(tmp_path):
    for epoch in (1, 2):
        save_run(tmp_path, epoch=epoch).write_bytes(b"half a checkpoint")
    with pytest.raises(
        MissingFileError, match=rf"nothing to resume in {tmp_path}: .*epoch_2\.pth cannot be read"
    ):
        find_checkpoint_to_resume(tmp_path)


def test_nothing_to_resume_names_the_folder(tmp_path):
    with pytest.raises(MissingFileError, match=rf"nothing to resume in {tmp_path}"):
        find_checkpoint_to_resume(tmp_path)


def test_note_of_a_deleted_checkpoint_raises(tmp_path):
    save_run(tmp_path / "run").unlink()
    with pytest.raises(MissingFileError, match=r"names .*epoch_1\.pth, which does not exist"):
        find_checkpoint_to_resume(tmp_path / "run")


def test_resume_pins_checkpoint_and_seed(tmp_path):
    path = save_run(tmp_path / "run")
    cfg = Config({"work_dir": str(tmp_path / "run"), "randomness": {"deterministic": True}})
    resolve_resume(cfg)
    assert cfg.load_from == str(path)
    assert cfg.randomness == {"deterministic": True, "seed": 3}


def test_given_path_wins_over_the_newest(tmp_path):
    save_run(tmp_path / "run")
    other = save_run(tmp_path / "other", seed=5)
    cfg = Config({"work_dir": str(tmp_path / "run"), "load_from": str(other)})
    resolve_resume(cfg)
    assert cfg.load_from == str(other)
    assert cfg.randomness.seed == 5


def test_other_seed_raises(tmp_path):
    save_run(tmp_path / "run")
    cfg = Config({"work_dir": str(tmp_path / "run"), "randomness": {"seed": 4}})
    with pytest.raises(UserError, match="seed=4 differs from seed 3"):
        resolve_resume(cfg)


def test_weights_without_a_run_cannot_be_resumed(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "weights.pth")
    cfg = Config({"work_dir": str(tmp_path), "load_from": str(tmp_path / "weights.pth")})
    with pytest.raises(CheckpointError, match="no state of a run"):
        resolve_resume(cfg)
