"""Files from the network: verified before they get their name, once for all processes of a node."""

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from amflow_mm.errors import WeightsError
from amflow_mm.hashing import hash_file
from amflow_mm.models.weights.transfer import discard, transfer

OFFLINE_VARIABLE = "AMFLOW_MM_OFFLINE"

HEAD_START_SECONDS = 10.0
"""How long the other processes of a node wait for their first one to begin a fetch."""


def fetch(url: str, target: Path, *, sha256: str | None) -> Path:
    """Download a file unless it is there; return ``target``.

    The bytes gather in ``<target>.part``, which a later call goes on with. They get the name
    ``target`` only when they are whole and have the checksum. Of several processes one
    downloads, on each node that with local rank 0, and the others wait for it.

    Args:
        url: Address with http or https.
        target: The file; missing folders are made.
        sha256: Its SHA-256 in hexadecimal; ``None`` where the source publishes none.

    Raises:
        WeightsError: The file cannot be had or is not the right one; the message has address,
            path and checksum, and tells how to put the file there by hand.
        ValueError: ``sha256`` is no checksum.
    """
    _check_address(url)
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"sha256={sha256!r} must be 64 hexadecimal digits, or None")
    if target.is_file():
        return target
    try:
        if is_offline():
            raise WeightsError(f"{OFFLINE_VARIABLE} is set, so nothing is downloaded")
        target.parent.mkdir(parents=True, exist_ok=True)
        with _turn(target):
            if not target.is_file():  # else another process was first
                _fetch_alone(url, target, sha256)
    except (WeightsError, OSError, NotImplementedError) as error:
        # NotImplementedError: the file system has no locks.
        raise WeightsError(
            f"{url} cannot be fetched: {error}. {by_hand(url, target, sha256)}"
        ) from error
    return target


def is_offline() -> bool:
    """Tell whether the user forbids connections."""
    return os.environ.get(OFFLINE_VARIABLE, "0") not in ("", "0")


def by_hand(url: str, target: Path, sha256: str | None) -> str:
    """Say how to do without this machine's network."""
    checksum = f"SHA-256 {sha256.lower()}" if sha256 else "its source publishes no checksum"
    return f"To place it by hand, download {url} elsewhere and copy it to {target} ({checksum})"


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and parts.hostname and url.isascii()
    except ValueError:  # such as a bracket that is never closed
        is_usable = False
    if not is_usable:
        raise WeightsError(
            f"url={url!r} must be an address that begins with https:// or http://, in ASCII: write "
            "other letters as %-codes"
        )


def _fetch_alone(url: str, target: Path, sha256: str | None) -> None:
    part = target.with_name(f"{target.name}.part")
    transfer(url, part, has_checksum=sha256 is not None)
    if sha256 is not None and (found := hash_file(part)) != sha256.lower():
        discard(part)
        raise WeightsError(
            f"what came has SHA-256 {found}, expected {sha256.lower()}, and has been removed"
        )
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, target)
    discard(part)


@contextmanager
def _turn(target: Path) -> Iterator[None]:
    """Hold the lock of a target; the first process of the node gets it first.

    The system releases the lock of a process that dies, so nobody waits for a dead one.
    """
    lock = FileLock(f"{target}.lock")
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    deadline = time.monotonic() + (0.0 if is_first else HEAD_START_SECONDS)
    while time.monotonic() < deadline and not target.is_file():
        try:
            with lock.acquire(timeout=0):
                pass
        except Timeout:  # the first process is at work
            break
        time.sleep(0.1)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        sys.stderr.write(f"waiting for another process that fetches {target.name}\n")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
