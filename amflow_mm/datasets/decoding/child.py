"""A process that decodes for another one; the name of its backend is its only argument.

What damages this process, or keeps it busy for ever, leaves the other one whole. Messages are
pickles with their length before them, requests on stdin and answers on stdout.
"""

import os
import pickle
import struct
import sys
import threading
import time
from typing import IO

from amflow_mm.datasets.decoding.errors import Reason, UnreadableVideoError
from amflow_mm.datasets.decoding.foreign import Images, Request, load_package, read

LENGTH = struct.Struct(">Q")
"""Number of bytes of the message that follows."""

ORPHAN_SECONDS = 1.0
"""How often the process looks whether the other one is still there."""

Failure = tuple[Reason, str]
"""Why frames cannot be had, in a word and in a sentence."""


def write_message(stream: IO[bytes], message: object) -> None:
    """Send a message."""
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def _read_message(stream: IO[bytes]) -> Request | None:
    """Receive a message; None at the end."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return pickle.loads(stream.read(LENGTH.unpack(head)[0]))


def _answer(backend: str, request: Request) -> Images | Failure:
    try:
        return read(backend, request)
    except UnreadableVideoError as error:
        return error.reason, str(error)
    except Exception as error:  # decoders raise whatever they like on damaged files
        text = str(error).strip().splitlines() or [type(error).__name__]
        return "corrupt", f"{request.source.name}: {backend} cannot read it ({text[0][:200]})"


def _follow_parent() -> None:
    """End this process with the one that started it, also in the midst of decoding."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(ORPHAN_SECONDS)
    os._exit(1)


def main() -> None:
    """Load a backend, say so, and answer until the requests end."""
    backend = sys.argv[1]
    threading.Thread(target=_follow_parent, daemon=True).start()
    answers = os.fdopen(os.dup(1), "wb")
    # Decoders tell the terminal of each damaged byte, and would write between the messages.
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    try:
        load_package(backend)
    except Exception as error:
        write_message(answers, ("no_backend", f"{backend} is installed but fails to load: {error}"))
        return
    write_message(answers, None)
    while (request := _read_message(sys.stdin.buffer)) is not None:
        write_message(answers, _answer(backend, request))
