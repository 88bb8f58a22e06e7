"""What is said of files in memory is true."""

import errno
import os

import pytest

from amflow_mm.apis.pipeline_benchmark import page_cache
from amflow_mm.apis.pipeline_benchmark.page_cache import drop_from_memory, warm_up

needs_linux = pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="Linux only")


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"x" * 9000)
    return paths


def test_every_file_is_dropped_even_if_the_first_stays(files, monkeypatch):
    dropped = []
    monkeypatch.setattr(page_cache, "_drop", lambda path: dropped.append(path) or path != files[0])
    assert drop_from_memory(files) is False
    assert dropped == files
    assert drop_from_memory(files[1:]) is True


def test_systems_that_cannot_forget_say_so(files, monkeypatch):
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    assert drop_from_memory(files) is False


@needs_linux
def test_a_file_that_was_read_is_in_memory(files):
    warm_up(files)
    descriptor = os.open(files[0], os.O_RDONLY)
    try:
        assert page_cache._is_in_memory(descriptor)
    finally:
        os.close(descriptor)


@needs_linux
@pytest.mark.parametrize(("code", "expected"), [(errno.EAGAIN, False), (errno.EOPNOTSUPP, True)])
def test_answers_of_the_system_are_understood(monkeypatch, code, expected):
    def refuse(*_):
        raise OSError(code, "no")

    monkeypatch.setattr(os, "preadv", refuse)
    assert page_cache._is_in_memory(0) is expected


@needs_linux
def test_other_errors_are_not_swallowed(monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(os, "preadv", fail)
    with pytest.raises(OSError, match="broken disk"):
        page_cache._is_in_memory(0)
