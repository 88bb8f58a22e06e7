"""Everything that works below a process is found and counted."""

import subprocess
import sys
import time

import pytest

from amflow_mm.apis.pipeline_benchmark import processes
from amflow_mm.apis.pipeline_benchmark.processes import ProcessorTime, family

pytestmark = pytest.mark.skipif(
    not processes.PROCESSES.is_dir(), reason="processes are listed on Linux"
)

WORK = """
import time
while time.process_time() < 0.2:
    pass
print(flush=True)
input()
"""
CHILD = f"""
import subprocess, sys
with subprocess.Popen([sys.executable, "-c", {WORK!r}]) as below:
    print(below.pid, flush=True)
"""


@pytest.fixture
def child():
    """A process with one below it, which works for a fifth of a second and waits."""
    command = [sys.executable, "-c", CHILD]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process
        process.stdin.write("\n")


def test_processes_below_are_found_at_any_depth(child):
    below = int(child.stdout.readline())
    assert family(child.pid) == [child.pid, below]


def test_work_of_processes_below_counts():
    processor = ProcessorTime()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()  # the pid
        process.stdout.readline()  # its work is done
        assert processor.read() > 0.15
        process.stdin.write("\n")


def test_own_work_counts_from_the_start_on():
    processor = ProcessorTime()
    start = time.process_time()
    while time.process_time() < start + 0.05:
        pass
    assert processor.read() >= 0.05


def test_a_process_that_has_ended_has_no_time():
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert processes._seconds_of(process.pid) is None
    assert family(process.pid) == [process.pid]


def test_without_a_list_of_processes_there_is_no_telling(monkeypatch, tmp_path):
    processor = ProcessorTime()
    monkeypatch.setattr(processes, "PROCESSES", tmp_path / "none")
    assert processor.read() is None
