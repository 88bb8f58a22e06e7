"""Run a function over many items in child processes that may crash or hang.

Decoders are C code, and a damaged video can take the whole process down or keep it for ever. A
pool of the standard library then waits for ever, too. Here nothing is expected of a child: one
that dies or takes too long is replaced, and its item is reported.
"""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any, Generic, Literal, TypeVar

from amflow_mm.progress import ProgressBar

Item = TypeVar("Item")
Result = TypeVar("Result")

THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
STARTING_SECONDS = 600.0
"""Patience with the imports of a child, which do not count into the time of its first item."""
LEAVING_SECONDS = 1.0
"""How long a child may take to remove what it has half written before it is killed."""
ORPHAN_SECONDS = 30
"""A child ends so long after its item's time is up, should nobody be left to end it."""


@dataclass(frozen=True)
class ItemError:
    """Why an item has no result.

    Attributes:
        kind: ``error`` where the function raised, ``crash`` where the process died, ``timeout``
            where it took too long.
        text: What happened, on one line.
        trace: The traceback of an ``error``.
    """

    kind: Literal["error", "crash", "timeout"]
    text: str
    trace: str = ""


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What became of an item: a value, or an error where there is none."""

    value: Result | None = None
    error: ItemError | None = None


def run_isolated(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    num_processes: int,
    timeout: float,
    description: str,
    num_done: int = 0,
) -> Iterator[tuple[Item, Outcome[Result]]]:
    """Yield each item with what became of it, in the order in which they are done.

    The children live on from item to item, use one thread each, and end with the iteration,
    however it ends. One that is ended may still run its ``finally`` clauses, for a second.

    Args:
        function: Picklable, such as a function of a module's top level or a partial of one.
        items: Picklable, as the results must be.
        num_processes: Children; no more than there are items are started.
        timeout: Seconds that one item may take.
        description: Of the progress bar on stderr.
        num_done: Items that an earlier run has done, for the progress bar.
    """
    if num_processes < 1:
        raise ValueError(f"num_processes={num_processes} must be >= 1: somebody has to do the work")
    if not timeout > 0:
        raise ValueError(f"timeout={timeout} must be > 0 seconds; give 1e6 for hardly any limit")
    waiting = deque(items)
    bar = ProgressBar(num_done + len(items), description, start=num_done)
    children: list[_Child] = []
    try:
        for _ in range(min(num_processes, len(items))):
            children.append(_Child(function, timeout))
            children[-1].give(waiting.popleft())
        while children:
            for child in _wait_for_news(children):
                outcome = child.hear()
                if outcome is None:
                    continue
                item = child.item
                # The next item is given out before the caller gets to think about this one.
                _go_on(children, child, waiting, outcome)
                bar.advance()
                yield item, outcome
    finally:
        for child in children:
            child.end()
        bar.close()


def _go_on(
    children: list["_Child"], child: "_Child", waiting: deque[Any], outcome: Outcome[Any]
) -> None:
    """Give a child its next item, or a successor if it is past use; let it go if there is none."""
    is_useless = outcome.error is not None and outcome.error.kind != "error"
    if is_useless or not waiting:
        child.end()
        children.remove(child)
    if not waiting:
        return
    if is_useless:
        child = _Child(child.function, child.timeout)
        children.append(child)
    child.give(waiting.popleft())


def _wait_for_news(children: Sequence["_Child"]) -> list["_Child"]:
    """Wait until some children have said something or have run out of time, and return these."""
    deadline = min(child.deadline for child in children)
    connections = [child.connection for child in children]
    heard = wait(connections, timeout=max(0.0, deadline - time.monotonic()))
    now = time.monotonic()
    return [child for child in children if child.connection in heard or child.deadline <= now]


class _Child:
    """One child process as its parent sees it."""

    def __init__(self, function: Callable[[Any], Any], timeout: float) -> None:
        self.function = function
        self.timeout = timeout
        self.item: Any = None
        self.deadline = time.monotonic() + STARTING_SECONDS
        self._is_ready = False
        context = _choose_context(function)
        self.connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, function, timeout), daemon=True
        )
        with _one_thread_each():
            self._process.start()
        # Only the child's own copy stays, so that its death reads as the end of the line.
        theirs.close()

    def give(self, item: Any) -> None:
        """Hand the next item over; its time runs once the child has finished its imports."""
        self.item = item
        self.connection.send(item)
        if self._is_ready:
            self.deadline = time.monotonic() + self.timeout

    def hear(self) -> Outcome[Any] | None:
        """Return what became of the item, None if the child has only come up.

        Raises:
            RuntimeError: It did not come up, which is no fault of the item.
        """
        if not self.connection.poll():
            if not self._is_ready:
                raise RuntimeError(f"a child process did not start in {STARTING_SECONDS:g} s")
            return _fail("timeout", f"took longer than {self.timeout:g} s")
        try:
            word, content = self.connection.recv()
        except (EOFError, OSError):
            return self._explain_death()
        except Exception as error:  # a value may raise anything while it is unpickled
            return _fail("error", f"the result cannot be unpickled ({_summarize(error)})")
        if word == "ready":
            self._is_ready = True
            self.deadline = time.monotonic() + self.timeout
            return None
        return Outcome(value=content) if word == "value" else Outcome(error=content)

    def end(self) -> None:
        """End the process, by force if it does not go."""
        self.connection.close()
        self._process.terminate()
        self._process.join(LEAVING_SECONDS)
        self._process.kill()
        self._process.join()

    def _explain_death(self) -> Outcome[Any]:
        self._process.join(LEAVING_SECONDS)
        code = self._process.exitcode
        if not self._is_ready:
            raise RuntimeError(
                f"a child process ended while it started (exit code {code}); what it wrote to "
                f"stderr says why. Can it import {self.function!r}?"
            )
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = "; was there too little memory?" if name == "SIGKILL" else ""
            return _fail("crash", f"the process was ended by {name}{hint}")
        return _fail("crash", f"the process ended with exit code {code}")


def _choose_context(function: Callable[[Any], Any]) -> BaseContext:
    """Return a way of starting processes that copies no threads and imports once, if there is."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    module = getattr(getattr(function, "func", function), "__module__", None)
    # Takes effect with the first process; children of later functions import on their own.
    context.set_forkserver_preload(["__main__", *([module] if module else [])])
    return context


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit the threads of processes that are started inside; they inherit the environment."""
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection: Connection, function: Callable[[Any], Any], timeout: float) -> None:
    """Work for the parent until it hangs up: the whole life of a child."""
    # Ctrl-C reaches the whole group of processes; what follows from it is the parent's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    _use_one_thread()
    connection.send(("ready", None))
    while True:
        try:
            item = connection.recv()
        except (EOFError, OSError):
            return
        _set_alarm(timeout)
        try:
            answer = ("value", function(item))
        except Exception as error:
            answer = ("error", _describe(error))
        try:
            connection.send(answer)
        except OSError:
            return
        except Exception as error:
            text = f"the result cannot be pickled ({_summarize(error)})"
            connection.send(("error", ItemError("error", text)))


def _use_one_thread() -> None:
    """Limit the libraries that are already loaded and do not look at the environment again."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(1)


def _set_alarm(timeout: float) -> None:
    """Have the system end this process even if it hangs in C and its parent was killed."""
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(min(timeout, 1e8)) + ORPHAN_SECONDS)


def _fail(kind: Literal["error", "crash", "timeout"], text: str) -> Outcome[Any]:
    return Outcome(error=ItemError(kind, text))


def _describe(error: Exception) -> ItemError:
    return ItemError("error", _summarize(error), "".join(traceback.format_exception(error)))


def _summarize(error: Exception) -> str:
    """Write an error on one line; not even its text is taken for granted."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "its text cannot be had"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
