"""Checkpoints of older versions: which format they have, and what turns it into today's.

==========  ===================  ============================================================
format      written by           holds
==========  ===================  ============================================================
0           0.1 in development   all weights, as MMEngine writes them; no entry ``format``
1           0.1.0                trained weights, or all; ``frozen`` identifies the image model
==========  ===================  ============================================================

A format changes when an entry or a weight is renamed, moved, or means something else. Then raise
``CHECKPOINT_FORMAT``, add to ``MIGRATIONS`` the step from the format before, and a line above.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from amflow_mm import __version__
from amflow_mm.engine.errors import CheckpointError

Checkpoint = dict[str, Any]

CHECKPOINT_FORMAT = 1
"""The format that this version writes, and the newest that it reads."""


def _from_format_0(checkpoint: Mapping[str, Any]) -> Checkpoint:
    """State that the frozen weights are inside: no identity of them was written."""
    return {**checkpoint, "frozen": None}


MIGRATIONS: dict[int, Callable[[Mapping[str, Any]], Checkpoint]] = {0: _from_format_0}
"""From each older format to the next; a step returns a new dictionary and keeps its argument."""


def migrate(checkpoint: Mapping[str, Any], source: str | Path) -> Checkpoint:
    """Return a checkpoint of any known format in today's.

    Weights on their own (no ``state_dict`` inside) have no format and come back as they are.

    Args:
        checkpoint: What the file held.
        source: The file, for messages.

    Raises:
        CheckpointError: The format is newer than this version, or is no format at all.
    """
    checkpoint = dict(checkpoint)
    if not isinstance(checkpoint.get("state_dict"), Mapping):
        return checkpoint
    found = checkpoint.get("format", 0)
    if type(found) is not int or found < 0:
        raise CheckpointError(
            f"checkpoint {source} has format={found!r}, which must be a whole number from 0 to "
            f"{CHECKPOINT_FORMAT}: it was changed by hand, or is not of amflow_mm"
        )
    if found > CHECKPOINT_FORMAT:
        raise CheckpointError(
            f"checkpoint {source} has format {found} (written by amflow_mm "
            f"{_writer(checkpoint)}), amflow_mm {__version__} reads formats up to "
            f"{CHECKPOINT_FORMAT}: upgrade amflow_mm"
        )
    for older in range(found, CHECKPOINT_FORMAT):
        checkpoint = MIGRATIONS[older](checkpoint)
    return {**checkpoint, "format": CHECKPOINT_FORMAT}


def _writer(checkpoint: Mapping[str, Any]) -> str:
    meta = checkpoint.get("meta")
    return str((meta if isinstance(meta, Mapping) else {}).get("amflow_mm_version", "unknown"))
