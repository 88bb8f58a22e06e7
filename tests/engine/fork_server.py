"""A process that has imported everything once and forks a process for each run of a tool.

Starting Python and importing MMAction2 takes much longer than training the tiny experiment. The
runs are processes of their own in every other respect: they can be signalled and killed, and
share no state with each other or with the test.

Run as a script it answers requests, a line of JSON each: ``{"start": {...}}`` with the id of the
new process, ``{"poll": id}`` with its exit status, or null while it runs.
"""

import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds after which a run counts as hung; the longest takes a few."""


@dataclass(frozen=True)
class Run:
    """A running tool."""

    pid: int
    log: Path

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


class ForkServer:
    """The test's end."""

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True,
        )  # fmt: skip

    def start(self, *command: Any, cwd: Path, log: Path, **variables: str) -> Run:
        """Start a tool of ``tools/`` with arguments; what it writes goes to ``log``."""
        request = {"argv": [str(part) for part in command], "cwd": str(cwd), "log": str(log)}
        return Run(self._ask({"start": request | {"variables": variables}}), log)

    def wait(self, run: Run) -> int:
        """Wait for a run; returns its exit status, negative for a signal."""
        deadline = time.monotonic() + PATIENCE
        while (status := self._ask({"poll": run.pid})) is None:
            if time.monotonic() > deadline:
                run.signal(signal.SIGKILL)
                raise AssertionError(f"a run hangs; it wrote:\n{run.log.read_text()}")
            time.sleep(0.02)
        return status

    def close(self) -> None:
        """End the server."""
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(10)

    def _ask(self, request: dict[str, Any]) -> Any:
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())


@contextmanager
def fork_server() -> Iterator[ForkServer]:
    """Run a server while the block runs."""
    server = ForkServer()
    try:
        yield server
    finally:
        server.close()


def serve() -> None:
    """Answer requests until there are no more."""
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            answer = os.fork()
            if answer == 0:
                become(**request["start"])
                return
        else:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def become(argv: list[str], cwd: str, log: str, variables: dict[str, str]) -> None:
    """Turn this process into a run of a tool."""
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (descriptor, 1), (descriptor, 2)):
        os.dup2(source, target)
    os.environ.update(variables)
    os.chdir(cwd)
    sys.argv = [str(ROOT / "tools" / argv[0]), *argv[1:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    import matplotlib.pyplot  # noqa: F401
    import mmaction.engine
    import mmaction.evaluation
    import mmaction.visualization  # noqa: F401
    import mmengine.config.config

    import amflow_mm.datasets
    import amflow_mm.engine.launch
    import amflow_mm.models  # noqa: F401
    import tests.engine.tiny_parts  # noqa: F401

    # Let configs be written as they come: their layout takes two thirds of a tiny run.
    mmengine.config.config.FormatCode = lambda text, **_: (text, False)
    gc.freeze()  # data sets collect garbage when they are built: a quarter of a second for each
    serve()
