import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from amflow_mm.datasets.video_files.parallel import run_isolated
from tests.datasets.video_files import interrupted_run
from tests.datasets.video_files.hostile_functions import (
    count_threads,
    ignore_terminate,
    misbehave,
    process_id,
    square,
)

ROOT = Path(__file__).parents[3]


def run(function, items, *, num_processes=2, timeout=60.0, **more):
    return list(
        run_isolated(
            function,
            items,
            num_processes=num_processes,
            timeout=timeout,
            description="work",
            **more,
        )
    )


def is_alive(process_id):
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(is_true, what):
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_every_item_comes_back_once_with_its_value():
    done = run(square, list(range(17)), num_processes=3)
    assert {item: outcome.value for item, outcome in done} == {n: n * n for n in range(17)}
    assert len(done) == 17
    assert all(outcome.error is None for _, outcome in done)


def test_zero_items_start_nothing(monkeypatch):
    monkeypatch.setattr("amflow_mm.datasets.video_files.parallel._Child", None)
    assert run(square, []) == []


def test_no_more_children_than_items_and_children_are_used_again():
    assert len({outcome.value for _, outcome in run(process_id, [0, 1], num_processes=5)}) <= 2
    children = {outcome.value for _, outcome in run(process_id, list(range(9)), num_processes=1)}
    assert len(children) == 1
    assert os.getpid() not in children


def test_children_use_one_thread():
    ((_, outcome),) = run(count_threads, [0])
    assert outcome.value == (1, 1, "1")


def test_environment_of_the_parent_stays(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    run(square, [1])
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.parametrize(
    ("item", "kind", "text"),
    [
        ("exit", "crash", "the process ended with exit code 3"),
        ("sys.exit", "crash", "the process ended with exit code 4"),
        ("segfault", "crash", "the process was ended by SIGSEGV"),
        ("killed", "crash", "the process was ended by SIGKILL; was there too little memory?"),
        ("raise", "error", "ValueError: two lines"),
        ("untellable", "error", "UntellableError: its text cannot be had"),
        ("unpicklable", "error", "the result cannot be pickled (TypeError: cannot travel)"),
        ("fails to arrive", "error", "the result cannot be unpickled (ValueError: invalid literal"),
    ],
)
def test_a_bad_item_costs_only_itself(item, kind, text):
    done = dict(run(misbehave, [1, item, 2, 3], num_processes=1))
    assert [done[number].value for number in (1, 2, 3)] == [1, 2, 3]
    assert done[item].value is None
    assert done[item].error.kind == kind
    assert done[item].error.text.startswith(text)


def test_an_error_keeps_its_traceback():
    ((_, outcome),) = run(misbehave, ["raise"])
    assert "in misbehave" in outcome.error.trace
    assert outcome.error.trace.endswith("ValueError: two\nlines\n")


def test_a_hanging_item_is_ended_and_the_others_go_on():
    done = dict(run(misbehave, ["hang", 1, 2, 3], timeout=1.0))
    assert done["hang"].error.kind == "timeout"
    assert done["hang"].error.text == "took longer than 1 s"
    assert [done[number].value for number in (1, 2, 3)] == [1, 2, 3]


def test_only_bad_items_end_too():
    done = run(misbehave, ["exit", "segfault", "hang", "exit"], timeout=0.5)
    assert sorted(outcome.error.kind for _, outcome in done) == ["crash"] * 3 + ["timeout"]


def test_a_child_that_does_not_go_is_killed(tmp_path):
    ((_, outcome),) = run(ignore_terminate, [str(tmp_path)], timeout=1.0)
    assert outcome.error.kind == "timeout"
    (mark,) = tmp_path.iterdir()
    assert not is_alive(int(mark.stem))


def test_children_end_when_the_caller_stops_listening():
    results = run_isolated(
        process_id, list(range(50)), num_processes=2, timeout=60, description="work"
    )
    children = {next(results)[1].value for _ in range(5)}
    results.close()
    wait_until(lambda: not any(map(is_alive, children)), "a child lives on")


def test_a_function_that_children_cannot_import_is_no_fault_of_the_items(capfd):
    nowhere = partial(square)
    nowhere.func.__module__, module = "tests.no_such_module", square.__module__
    try:
        with pytest.raises(Exception, match="no_such_module"):
            run(nowhere, [1])
    finally:
        nowhere.func.__module__ = module


def test_progress_counts_what_was_done_before(capsys):
    run(square, [1, 2], num_done=8)
    assert capsys.readouterr().err.splitlines()[-1].startswith("work: 10/10, done in")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_processes": 0}, "num_processes=0 must be >= 1"),
        ({"timeout": 0}, "timeout=0 must be > 0 seconds"),
        ({"timeout": float("nan")}, "timeout=nan must be > 0 seconds"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        run(square, [1], **options)


@pytest.fixture
def hanging_run(tmp_path):
    """A process whose two children hang, and the folder in which these leave their marks."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, interrupted_run.__file__, str(tmp_path)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "the children do not start")
    children = [int(mark.stem) for mark in tmp_path.iterdir()]
    yield process, children
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_ctrl_c_ends_all_and_lets_children_clean_up(tmp_path, hanging_run):
    process, children = hanging_run
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1] == "interrupted"
    assert "Traceback" not in errors
    assert not any(map(is_alive, children))
    assert list(tmp_path.iterdir()) == []
