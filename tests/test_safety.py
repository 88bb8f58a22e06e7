"""No file that a user may name can run code: each place, with a payload that would leave a trace.

The formats of such files, one by one, are the matter of ``test_safe_load``.
"""

import json
import pickle
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from amflow_mm.datasets import FeatureStore
from amflow_mm.errors import UserError
from amflow_mm.models.weights import read_image_weights
from tests.engine.tiny_experiment import ROOT, run_tool, train_here, write_experiment
from tests.malicious_files import (
    FORMATS,
    WRAPPINGS,
    Payload,
    write_attack,
    write_torchscript_attack,
)

PLACES: dict[str, Callable[[Path, Path], list[str]]] = {
    "pretrained": lambda experiment, attack: [
        "train.py", experiment, "--cfg-options", "model.init_cfg.type=PretrainedImageViT",
        f"model.init_cfg.source={attack}",
    ],
    "init_cfg": lambda experiment, attack: [
        "train.py", experiment, "--cfg-options", "model.init_cfg.type=Pretrained",
        f"model.init_cfg.checkpoint={attack}",
    ],
    "load_from": lambda experiment, attack: [
        "train.py", experiment, "--cfg-options", f"load_from={attack}",
    ],
    "resume": lambda experiment, attack: ["train.py", experiment, "--resume", attack],
    "test": lambda experiment, attack: ["test.py", experiment, attack],
    "convert_weights": lambda experiment, attack: [
        "convert/convert_weights.py", attack, "--out", "x.safetensors",
    ],
    "publish_model": lambda experiment, attack: [
        "convert/publish_model.py", attack, "--out", "x.pth",
    ],
    "merge_adapters": lambda experiment, attack: [
        "convert/merge_adapters.py", experiment, attack, "--out", "x.pth",
    ],
}  # fmt: skip
"""Command lines that name a file, for each place where one may be named."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The config of an experiment with its data."""
    return write_experiment(tmp_path_factory.mktemp("safety") / "safety")


@pytest.fixture
def experiment(data, tmp_path):
    """The same with a name: runs of one name would share MMEngine's global instances."""
    config = tmp_path / "safety.py"
    config.write_text(f'{data.read_text()}\nexperiment_name = "{tmp_path.name}"\n')
    return config


@pytest.fixture
def trace(tmp_path, monkeypatch):
    """What exists if a payload has run; the current folder is another."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "ran"


@pytest.fixture(params=["as it is", "told to be careless"])
def environment(request, monkeypatch):
    """The user's environment; one variable makes torch run pickles unless a call says no."""
    if request.param == "told to be careless":
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")


@pytest.fixture
def call(monkeypatch, capfd):
    """Run a tool in this process; returns its exit code and the errors that it wrote."""

    def call(tool, *arguments) -> tuple[int, list[str]]:
        path = ROOT / "tools" / tool
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        lines = capfd.readouterr().err.splitlines()
        return code, [line for line in lines if line.startswith("error: ")]

    return call


def assert_refused(result, trace, *parts):
    """One line that names the file and what it asked for, and nothing that has run."""
    code, errors = result
    assert not trace.exists()
    assert code == 2
    assert len(errors) == 1
    for part in map(str, parts):
        assert part in errors[0]
    assert "weights_only" not in errors[0]  # torch's advice is to switch the guard off


# ---------------------------------------------------------------- whatever names a file


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.usefixtures("environment")
def test_a_payload_is_refused_in_one_line(tmp_path, trace, experiment, call, place):
    attack = write_attack(tmp_path / "attack.pth", trace, wrapping="message_hub")
    result = call(*PLACES[place](experiment, attack))
    assert_refused(result, trace, "attack.pth", "mkdir")


@pytest.mark.parametrize("place", PLACES)
def test_a_torchscript_program_does_not_run(tmp_path, trace, experiment, call, place):
    attack = write_torchscript_attack(tmp_path / "attack.pth", trace)
    result = call(*PLACES[place](experiment, attack))
    assert_refused(result, trace, "attack.pth")


@pytest.mark.parametrize("place", PLACES)
def test_a_damaged_file_is_told_in_one_line(tmp_path, trace, experiment, call, place):
    attack = tmp_path / "attack.pth"
    attack.write_bytes(b"no weights at all")
    result = call(*PLACES[place](experiment, attack))
    assert_refused(result, trace, "attack.pth")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["pretrained", "resume", "test", "convert_weights"])
def test_a_process_ends_with_one_line(tmp_path, trace, experiment, place):
    attack = write_attack(tmp_path / "attack.pth", trace, wrapping="message_hub")
    done = run_tool(*PLACES[place](experiment, attack), cwd=Path.cwd())
    assert "Traceback" not in done.stderr + done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert_refused((done.returncode, errors), trace, "attack.pth", "posix.mkdir")


# ---------------------------------------------------------------- image weights by their suffix


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".safetensors", ".onnx", ""])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("wrapping", ["bare", "beside_weights", "state_dict"])
def test_image_weights_are_data_whatever_they_are_called(tmp_path, trace, suffix, name, wrapping):
    attack = write_attack(tmp_path / f"attack{suffix}", trace, format=name, wrapping=wrapping)
    with pytest.raises(UserError, match=rf"attack{suffix}: ") as raised:
        read_image_weights(str(attack))
    assert not trace.exists()
    assert "\n" not in str(raised.value)
    assert "weights_only" not in str(raised.value)


# ---------------------------------------------------------------- the work folder


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """The work folder of a finished run."""
    folder = tmp_path_factory.mktemp("finished")
    train_here(data, folder)
    return folder


@pytest.fixture
def work_dir(finished, tmp_path):
    """A copy of that folder, whose note names its own checkpoint."""
    folder = Path(shutil.copytree(finished, tmp_path / "work"))
    (folder / "last_checkpoint").write_text(str(folder / "epoch_2.pth"))
    return folder


def resume(experiment, work_dir):
    return "train.py", experiment, "--resume", "--work-dir", work_dir


def test_the_newest_checkpoint_is_data(trace, experiment, work_dir, call):
    for path in work_dir.glob("*.pth"):
        write_attack(path, trace, wrapping="message_hub")
    assert_refused(call(*resume(experiment, work_dir)), trace, "epoch_2.pth", "posix.mkdir")


def test_a_note_may_lead_anywhere_but_nothing_runs(tmp_path, trace, experiment, work_dir, call):
    for path in work_dir.glob("*.pth"):
        path.unlink()
    attack = write_attack(tmp_path / "attack.pth", trace, wrapping="message_hub")
    (work_dir / "last_checkpoint").write_text(str(attack))
    assert_refused(call(*resume(experiment, work_dir)), trace, "attack.pth", "posix.mkdir")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"x" * 5000, b"\0"])
def test_a_note_of_any_bytes_is_told(trace, experiment, work_dir, call, content):
    for path in work_dir.glob("*.pth"):
        path.unlink()
    (work_dir / "last_checkpoint").write_bytes(content)
    assert_refused(call(*resume(experiment, work_dir)), trace, "last_checkpoint")


def test_a_pickle_as_the_note_is_not_read_as_one(trace, experiment, work_dir, call):
    for path in work_dir.glob("*.pth"):
        path.unlink()
    (work_dir / "last_checkpoint").write_bytes(pickle.dumps(Payload(trace)))
    assert_refused(call(*resume(experiment, work_dir)), trace, "last_checkpoint")


@pytest.mark.parametrize("part", ["message_hub", "optimizer", "param_schedulers", "meta", "frozen"])
def test_no_part_of_a_checkpoint_may_hold_more_than_data(trace, experiment, work_dir, call, part):
    path = work_dir / "epoch_2.pth"
    checkpoint = torch.load(path)
    torch.save(checkpoint | {part: {"nested": [checkpoint.get(part), Payload(trace)]}}, path)
    result = call("train.py", experiment, "--resume", path, "--work-dir", work_dir)
    assert_refused(result, trace, "epoch_2.pth", "posix.mkdir")


class GetAttribute:
    """Ask for an attribute by way of the stand-in that log histories need."""

    def __init__(self, owner: object, name: str) -> None:
        self.owner = owner
        self.name = name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


@pytest.mark.parametrize(
    ("owner", "name"), [(torch.Tensor, "__class__"), (dict, "__subclasses__"), (np.ndarray, "dump")]
)
def test_log_histories_open_no_back_door(trace, experiment, work_dir, call, owner, name):
    path = work_dir / "epoch_2.pth"
    checkpoint = torch.load(path)
    checkpoint["message_hub"]["log_scalars"]["loss"] = GetAttribute(owner, name)
    torch.save(checkpoint, path)
    result = call("train.py", experiment, "--resume", path, "--work-dir", work_dir)
    assert_refused(result, trace, "epoch_2.pth")


# ---------------------------------------------------------------- kept features


@pytest.fixture
def store(tmp_path):
    """A store with one row of two."""
    store = FeatureStore(tmp_path / "features", 2)
    store.write({0: {"tokens": np.zeros((3, 5), np.float16)}})
    return FeatureStore(tmp_path / "features", 2)


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("name", ["zip", "pickle"])
def test_the_layout_of_kept_features_is_data(store, trace, name, wrapping):
    write_attack(store.folder / "layout.json", trace, format=name, wrapping=wrapping)
    with pytest.raises(UserError, match=r"features holds .*layout\.json.*; remove the folder"):
        store.missing_rows()
    assert not trace.exists()


@pytest.mark.parametrize("file", ["tokens.bin", "done.bin"])
def test_kept_features_are_numbers_whatever_is_in_the_file(store, trace, file):
    path = store.folder / file
    size = path.stat().st_size
    payload = pickle.dumps(Payload(trace))
    path.write_bytes((payload * size)[:size])
    store.missing_rows()
    tokens = store.read(0)["tokens"]
    assert (tokens.dtype, tokens.shape) == (np.float16, (3, 5))
    assert not trace.exists()


@pytest.mark.parametrize(
    "layout",
    [
        {"tokens": ["object", [2, 3, 5]]},  # bytes of the file would be taken for addresses
        {"tokens": ["O", [2, 3, 5]]},
        {"tokens": ["V8", [2, 3, 5]]},
        {"tokens": ["float16", [2, 3, 5000]]},
        {"tokens": ["float16", [2, -3, 5]]},
        {"tokens": ["float16", "2"]},
        {"tokens": ["no type", [2, 3, 5]]},
        {"tokens": 3},
        {"../secret": ["uint8", [2]]},
        {"/etc/hostname": ["uint8", [2]]},
        ["tokens"],
        None,
    ],
)
def test_a_forged_layout_is_refused(store, layout):
    (store.folder.parent / "secret.bin").write_bytes(b"12")
    if isinstance(layout, dict):
        layout = layout | {"done": ["uint8", [2]]}
    (store.folder / "layout.json").write_text(json.dumps(layout))
    with pytest.raises(UserError, match=r"features holds .*layout\.json.*; remove the folder"):
        store.missing_rows()
