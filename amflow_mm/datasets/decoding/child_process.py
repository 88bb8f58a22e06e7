"""A child process that decodes, started when it is needed and killed when it takes too long."""

import atexit
import os
import pickle
import select
import subprocess
import sys
import time
from functools import cache

from amflow_mm.datasets.decoding.child import LENGTH, Failure, write_message
from amflow_mm.datasets.decoding.errors import unreadable
from amflow_mm.datasets.decoding.foreign import Images, Request
from amflow_mm.datasets.decoding.time_limit import TimeLimit

STARTUP_SECONDS = 120.0
"""Time to import a backend, which no video has to pay for."""

_START = "from amflow_mm.datasets.decoding.child import main; main()"
"""Not ``-m``, which would load that module twice."""

READ_BYTES = 1 << 20
"""Most that is taken from the pipe at a time."""


@cache
def child_of(backend: str, pid: int) -> "ChildProcess":
    """Return the only child of this process for a backend.

    Args:
        backend: Name of the decoder.
        pid: Of this process: a data worker that was forked must not use its parent's child.
    """
    child = ChildProcess(backend, pid)
    atexit.register(child.stop)
    return child


class ChildProcess:
    """A process that answers requests one by one.

    A plain subprocess, because data workers may not have children of `multiprocessing`.

    Args:
        backend: Name of the decoder.
        owner: Process that may use it.
    """

    def __init__(self, backend: str, owner: int) -> None:
        """Note what to start; nothing is started yet."""
        self._backend = backend
        self._owner = owner
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Failure | None:
        """Start the process unless it runs; tell why it cannot."""
        if self._process is not None:
            return None
        # The search path goes along, so that the process finds the same packages.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, self._backend],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            bufsize=0,
        )
        try:
            failure = self._receive(time.monotonic() + STARTUP_SECONDS)
        except (TimeoutError, EOFError):
            failure = ("no_backend", f"the process for {self._backend} does not start")
        if failure is not None:
            self.stop()
        return failure

    def ask(self, request: Request, limit: TimeLimit) -> Images | Failure:
        """Send a request and wait for the answer.

        Raises:
            UnreadableVideoError: The process crashed, or had to be killed.
        """
        name = request.source.name
        try:
            write_message(self._process.stdin, request)
            return self._receive(time.monotonic() + limit.remaining())
        except TimeoutError:
            self.stop()
            detail = f"{self._backend} did not read it within {limit.seconds:g} s"
            raise unreadable(name, "timeout", detail) from None
        except (EOFError, BrokenPipeError):
            status = self._process.wait()
            self.stop()
            detail = f"{self._backend} crashed on it (exit status {status})"
            raise unreadable(name, "crash", detail) from None

    def stop(self) -> None:
        """Kill the process, if it runs and belongs to this one."""
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()

    def _receive(self, until: float) -> object:
        """Read an answer.

        Raises:
            TimeoutError: It did not come in time.
            EOFError: The process is gone.
        """
        (length,) = LENGTH.unpack(self._read_exactly(LENGTH.size, until))
        return pickle.loads(self._read_exactly(length, until))

    def _read_exactly(self, length: int, until: float) -> bytes:
        content = bytearray()
        pipe = self._process.stdout.fileno()
        while len(content) < length:
            ready, _, _ = select.select([pipe], [], [], max(until - time.monotonic(), 0))
            if not ready:
                raise TimeoutError
            part = os.read(pipe, min(READ_BYTES, length - len(content)))
            if not part:
                raise EOFError
            content += part
        return content
