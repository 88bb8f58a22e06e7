"""Processes that were told to stop give their launcher its exit status."""

import runpy
import signal
from types import SimpleNamespace

import pytest
import torch.distributed.run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from amflow_mm.engine.hooks.preemption_hook import PREEMPTED_STATUS
from tests.engine.fork_server import fork_server
from tests.engine.resumed_runs import RARELY, write_run
from tests.engine.tiny_experiment import ROOT
from tests.engine.trace_hook import read_trace


def failed(*statuses):
    failures = {
        rank: SimpleNamespace(
            exitcode=status, local_rank=rank, pid=1, timestamp=0, timestamp_isoformat=lambda: "",
            message="", error_file="", error_file_data={}, signal_name=lambda: "",
        )
        for rank, status in enumerate(statuses)
    }  # fmt: skip
    return ChildFailedError("train.py", failures)


def run_with(monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(torch.distributed.run, "main", fail)
    monkeypatch.setattr("sys.argv", ["torchrun.py"])
    monkeypatch.setenv("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM")  # to be put back
    runpy.run_path(str(ROOT / "tools/torchrun.py"), run_name="__main__")


@pytest.mark.parametrize(
    "error",
    [
        failed(PREEMPTED_STATUS),
        failed(PREEMPTED_STATUS, PREEMPTED_STATUS),
        SignalException("", sigval=signal.SIGTERM),
        SignalException("", sigval=signal.SIGUSR1),
    ],
)
def test_status_of_a_stop_is_kept(monkeypatch, error):
    with pytest.raises(SystemExit) as caught:
        run_with(monkeypatch, error)
    assert caught.value.code == PREEMPTED_STATUS


@pytest.mark.parametrize(
    "error",
    [failed(1), failed(PREEMPTED_STATUS, 1), SignalException("", sigval=signal.SIGINT)],
)
def test_other_ends_are_raised(monkeypatch, error):
    with pytest.raises(type(error)) as caught:
        run_with(monkeypatch, error)
    assert caught.value is error


@pytest.mark.slow
def test_signal_to_the_launcher_stops_its_processes_in_good_order(tmp_path):
    config = write_run(tmp_path / "experiment", loop="epochs", extra=RARELY)
    run = tmp_path / "run"
    with fork_server() as server:
        status = server.wait(
            server.start(
                "torchrun.py", "--nproc-per-node=2", "--master-port=0", "--rdzv-backend=c10d",
                "--rdzv-endpoint=127.0.0.1:0", ROOT / "tools/train.py", config, "--seed", "3",
                "--work-dir", run, "--launcher", "pytorch", cwd=tmp_path, log=tmp_path / "log",
                SEND_TO_SELF="1 2 PARENT_SIGUSR1",
            )
        )  # fmt: skip
    assert status == PREEMPTED_STATUS, (tmp_path / "log").read_text()
    assert (run / "last_checkpoint").read_text().endswith("preempted.pth")
    assert len(read_trace(run, 0)) == len(read_trace(run, 1)) == 3
