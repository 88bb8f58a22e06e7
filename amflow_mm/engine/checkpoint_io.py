"""Files that change under their name all at once or not at all, whatever stops the writing.

A checkpoint written in place is no checkpoint while it is written, and none ever after if the
process is killed, the machine stops or the disk fills up in the middle.
"""

import errno
import io
import os
import uuid
from pathlib import Path
from typing import Any

import torch

from amflow_mm.engine.errors import CheckpointError
from amflow_mm.engine.safetensors_io import SUFFIX, pack_safetensors

UNFINISHED = ".part"
"""Suffix of a file that is being written; its name begins with a dot."""

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CANNOT_SYNC_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


def write_checkpoint(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Write a checkpoint that stands whole under its name, or not at all.

    Args:
        checkpoint: Its entries; those of a run do not fit into safetensors.
        path: Where; the suffix ``.safetensors`` chooses that format.

    Raises:
        CheckpointError: It cannot be written; what stood under the name still does.
    """
    path = Path(path)
    if path.suffix == SUFFIX:
        _replace(path, pack_safetensors(checkpoint))
        return
    # By way of memory: an error of the disk inside torch.save comes out as a riddle about zip
    # files, and one of pickling must not cost what is there.
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    _replace(path, buffer.getbuffer())


def write_text(text: str, path: str | Path) -> None:
    """Write a text file that is whole or the old one.

    Raises:
        CheckpointError: It cannot be written; what stood under the name still does.
    """
    _replace(Path(path), text.encode("utf-8"))


def remove_unfinished(folder: str | Path) -> list[Path]:
    """Remove what killed runs have left half-written in a folder; return what it was."""
    leftovers = sorted(Path(folder).glob(f".*{UNFINISHED}"))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return leftovers


def _replace(path: Path, content: bytes | memoryview) -> None:
    # In the same folder, since only within a file system is a rename one step.
    unfinished = path.with_name(f".{path.name}-{uuid.uuid4().hex}{UNFINISHED}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("xb") as stream:
                stream.write(content)
                stream.flush()
                # Before the rename: some file systems would put the new name on the disk first.
                os.fsync(stream.fileno())
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        advice = (
            "; make room, or keep fewer (default_hooks.checkpoint.max_keep_ckpts)"
            if error.errno in _NO_SPACE
            else ""
        )
        raise CheckpointError(
            f"{path} cannot be written: {error.strerror or error}; what stood under this name is "
            f"unharmed{advice}"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk; without it a power failure may bring back the old."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows has no such call and needs none
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDERS:  # some network file systems
            raise
    finally:
        os.close(descriptor)
