"""A file is whole or the old one, whatever goes wrong while it is written."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from amflow_mm.engine.checkpoint import read_checkpoint
from amflow_mm.engine.checkpoint_io import remove_unfinished, write_checkpoint, write_text
from amflow_mm.engine.errors import CheckpointError
from tests.engine.tiny_experiment import ROOT


def make_checkpoint(value, size=7):
    return {"meta": {"iter": value}, "state_dict": {"a": torch.full((size,), float(value))}}


@pytest.fixture
def path(tmp_path):
    """An old checkpoint of little size."""
    write_checkpoint(make_checkpoint(1), tmp_path / "x.pth")
    return tmp_path / "x.pth"


def assert_old_one_stands(path):
    assert read_checkpoint(path)["meta"] == {"iter": 1}
    assert os.listdir(path.parent) == [path.name]


def test_new_one_takes_the_place_of_the_old(path):
    write_checkpoint(make_checkpoint(2), path)
    found = read_checkpoint(path)
    assert found["meta"] == {"iter": 2}
    assert torch.equal(found["state_dict"]["a"], torch.full((7,), 2.0))
    assert os.listdir(path.parent) == [path.name]


def test_folder_is_made(tmp_path):
    write_checkpoint(make_checkpoint(1), tmp_path / "a/b/x.pth")
    assert read_checkpoint(tmp_path / "a/b/x.pth")["meta"] == {"iter": 1}


def test_others_may_read_what_the_user_lets_them(tmp_path):
    before = os.umask(0o027)
    try:
        write_checkpoint(make_checkpoint(1), tmp_path / "x.pth")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.pth").stat().st_mode) == 0o640


def test_content_is_on_the_disk_before_the_name_and_the_name_before_the_end(path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append("folder" if is_folder else f"{os.fstat(descriptor).st_size > 0}")
        fsync(descriptor)

    def note_replace(source, target):
        calls.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_checkpoint(make_checkpoint(2), path)
    assert calls == ["True", "x.pth", "folder"]


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.ENOSPC, "make room, or keep fewer"), (errno.EIO, None)]
)
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failing_disk_is_told_and_the_old_one_stays(path, monkeypatch, number, advice, call):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(
        CheckpointError, match=rf"^{path} cannot be written: {os.strerror(number)}; what stood"
    ) as caught:
        write_checkpoint(make_checkpoint(2), path)
    assert (advice in str(caught.value)) if advice else str(caught.value).endswith("unharmed")
    monkeypatch.undo()
    assert_old_one_stands(path)


def test_disk_that_fills_up_in_the_middle(path):
    """The kernel lets a part of the file be written and then refuses, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(CheckpointError, match=r"File too large.*make room"):
            write_checkpoint(make_checkpoint(2, size=1_000_000), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert_old_one_stands(path)


def test_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        write_checkpoint(make_checkpoint(1), disk / "x.pth")
        with pytest.raises(CheckpointError, match=r"No space left on device.*make room"):
            write_checkpoint(make_checkpoint(2, size=1_000_000), disk / "x.pth")
        assert_old_one_stands(disk / "x.pth")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_what_cannot_be_pickled_costs_nothing(path):
    with pytest.raises(AttributeError, match=r"local.*<lambda>|<lambda>.*local"):
        write_checkpoint({"meta": lambda: None}, path)
    assert_old_one_stands(path)


def test_interruption_before_the_rename(path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(make_checkpoint(2), path)
    assert_old_one_stands(path)


KILLED = """
import os, signal, sys
from amflow_mm.engine.checkpoint_io import write_checkpoint
os.replace = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
write_checkpoint({"meta": {"iter": 2}}, sys.argv[1])
"""


@pytest.mark.slow
def test_kill_before_the_rename_leaves_the_old_one_and_a_file_that_is_cleared_away(path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    (unfinished,) = set(path.parent.iterdir()) - {path}
    assert unfinished.name.startswith(".x.pth-")
    assert remove_unfinished(path.parent) == [unfinished]
    assert_old_one_stands(path)


def test_only_unfinished_files_are_cleared_away(path):
    for name in (".hidden", "part", "notes.part", ".y.pth-1.part"):
        (path.parent / name).touch()
    assert [file.name for file in remove_unfinished(path.parent)] == [".y.pth-1.part"]
    assert (path.parent / "notes.part").exists()
    assert (path.parent / ".hidden").exists()


@pytest.mark.parametrize(("number", "is_error"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_file_system_that_cannot_sync_folders_is_borne(path, monkeypatch, number, is_error):
    fsync = os.fsync

    def refuse_folders(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    if is_error:
        with pytest.raises(CheckpointError, match="Input/output error"):
            write_checkpoint(make_checkpoint(2), path)
    else:
        write_checkpoint(make_checkpoint(2), path)
        assert read_checkpoint(path)["meta"] == {"iter": 2}


def test_text_is_replaced_as_a_whole(tmp_path, monkeypatch):
    write_text("größe", tmp_path / "note")
    assert (tmp_path / "note").read_text(encoding="utf-8") == "größe"

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError, match="note cannot be written: No space"):
        write_text("x", tmp_path / "note")
    assert (tmp_path / "note").read_text(encoding="utf-8") == "größe"
