"""The user's cache of weights: where it is, what files in it are called, that they are right."""

import hashlib
import json
import os
import re
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from amflow_mm.errors import WeightsError
from amflow_mm.hashing import hash_file
from amflow_mm.models.weights.download import by_hand, fetch

CACHE_VARIABLE = "AMFLOW_MM_CACHE"
MAX_NAME_CHARACTERS = 100
"""Of the readable part of a file name; file systems end at 255 bytes."""


def cache_folder() -> Path:
    """Return the user's cache folder for weights, ``$AMFLOW_MM_CACHE`` where it is set."""
    if folder := os.environ.get(CACHE_VARIABLE):
        return Path(folder).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "amflow_mm"


def name_for(url: str) -> str:
    """Return a file name for what an address leads to: readable, safe and one for each address.

    ``https://host/owner/repo/model.safetensors`` becomes ``model-0a1b2c3d4e5f.safetensors``.
    """
    path = Path(unquote(urlsplit(url).path))
    suffix = path.suffix if re.fullmatch(r"\.[A-Za-z0-9]{1,20}", path.suffix) else ""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "_", path.name.removesuffix(suffix)).strip("_-")
    key = hashlib.sha256(url.encode()).hexdigest()[:12]
    return f"{stem[:MAX_NAME_CHARACTERS] or 'weights'}-{key}{suffix}"


def cached(url: str, name: str, *, sha256: str | None) -> Path:
    """Return a file of the cache, fetched on first use and verified once.

    A file without a published checksum is held to the one that it had when it was first seen.

    Args:
        url: Where it is published.
        name: Its name in the cache; :func:`name_for` makes one from an address.
        sha256: Its SHA-256 in hexadecimal; ``None`` where the source publishes none.

    Raises:
        WeightsError: It cannot be fetched, or is not the right one and has been removed.
        ValueError: ``name`` could lead out of the cache.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise ValueError(
            f"name={name!r} must be a plain file name of letters, digits, '.', '_' and '-'; "
            "name_for makes one from an address"
        )
    path = fetch(url, cache_folder() / name, sha256=sha256)
    expected = sha256.lower() if sha256 else None
    found = _verified_checksum(path)
    if found is None or expected not in (None, found):
        _verify(path, url, expected)
    return path


def _verify(path: Path, url: str, expected: str | None) -> None:
    """Compare a file with its checksum, and note that it was done.

    Raises:
        WeightsError: It is another file; it has been removed.
    """
    record = _read_record(path)
    expected = expected or record.get("sha256")
    state = _state(path)
    found = hash_file(path)
    if expected is not None and found != expected:
        path.unlink()
        _record_path(path).unlink(missing_ok=True)
        raise WeightsError(
            f"{path} had SHA-256 {found}, expected {expected}, and has been removed; run again to "
            f"fetch it anew. {by_hand(url, path, expected)}"
        )
    _write_record(path, {"sha256": found, "url": url, **state})


def _verified_checksum(path: Path) -> str | None:
    """Return the checksum that was verified, if the file has not been touched since."""
    record = _read_record(path)
    is_same = {key: record.get(key) for key in ("size", "mtime_ns")} == _state(path)
    return record.get("sha256") if is_same else None


def _state(path: Path) -> dict[str, int]:
    stat = path.stat()
    return {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(_record_path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # none, or damaged: the file is verified again
        return {}
    return record if isinstance(record, dict) else {}


def _write_record(path: Path, record: dict[str, Any]) -> None:
    """Write the record at once; where the cache is read-only, files are verified at each use."""
    if not os.access(path.parent, os.W_OK):
        return
    scratch = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    scratch.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    scratch.replace(_record_path(path))
