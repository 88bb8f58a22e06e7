"""Marks reach every process; errors are told apart."""

import errno
import pickle
import subprocess

import pytest
import torch.multiprocessing as mp
from mmengine.structures import BaseDataElement

from amflow_mm.datasets.decoding.errors import UnreadableVideoError, unreadable
from amflow_mm.datasets.skip_ledger import REASONS, SKIPPED, SkipLedger, is_unreadable, reason_of
from amflow_mm.datasets.storage import StorageError


def mark(ledger):
    ledger.mark(2, "truncated")


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_marks_of_another_process_are_seen(method):
    ledger = SkipLedger(4)
    ledger.mark(0, "corrupt")
    process = mp.get_context(method).Process(target=mark, args=(ledger,))
    process.start()
    process.join()
    assert [ledger.reason(i) for i in range(4)] == ["corrupt", None, "truncated", None]


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_kept(reason):
    ledger = SkipLedger(1)
    ledger.mark(0, reason)
    assert ledger.reason(0) == reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (unreadable("a.mp4", "empty", "no byte"), "empty"),
        (UnreadableVideoError("rebuilt from its text"), "unreadable"),
        (FileNotFoundError(errno.ENOENT, "x"), "missing"),
        (PermissionError(errno.EACCES, "x"), "unreadable"),
        (OSError(errno.EIO, "x"), "unreadable"),
        (StorageError("x"), "unreadable"),
    ],
)
def test_faults_of_a_file(error, reason):
    assert is_unreadable(error)
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        RuntimeError("x"),
        MemoryError(),
        OSError(errno.ENOSPC, "the disk of a cache is full"),
        OSError(errno.EMFILE, "too many open files"),
        subprocess.SubprocessError("x"),
    ],
)
def test_faults_of_program_and_machine_are_no_broken_video(error):
    assert not is_unreadable(error)


def test_flag_travels_with_a_sample():
    sample = BaseDataElement(metainfo={SKIPPED: {"a.mp4": "corrupt"}})
    assert pickle.loads(pickle.dumps(sample)).metainfo[SKIPPED] == {"a.mp4": "corrupt"}
