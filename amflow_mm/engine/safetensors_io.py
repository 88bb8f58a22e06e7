"""Checkpoints without the state of a run as safetensors, a format that cannot hold code.

Tensors are those of ``state_dict``; all else is JSON in the file's metadata.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from amflow_mm.engine.errors import CheckpointError

SUFFIX = ".safetensors"
METADATA_KEY = "amflow_mm_checkpoint"


def pack_safetensors(checkpoint: Mapping[str, Any]) -> bytes:
    """Return a checkpoint as the content of a file.

    Raises:
        CheckpointError: It holds more than weights and plain values, such as an optimiser.
    """
    rest = {name: value for name, value in checkpoint.items() if name != "state_dict"}
    try:
        text = json.dumps(rest, sort_keys=True)
    except TypeError as error:
        raise CheckpointError(
            f"safetensors hold weights and plain values only, and among {', '.join(rest)} is more "
            f"({error}): write a .pth, or publish the checkpoint (tools/convert/publish_model.py)"
        ) from error
    # Copies, since the format takes no two tensors that share memory.
    weights = {name: value.clone().contiguous() for name, value in checkpoint["state_dict"].items()}
    return save(weights, {"format": "pt", METADATA_KEY: text})


def read_safetensors(path: str | Path) -> dict[str, Any]:
    """Return the checkpoint in a file, or the bare weights of a file by others.

    Raises:
        CheckpointError: The file is damaged, or no safetensors.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if METADATA_KEY not in metadata:
            return weights
        return {**json.loads(metadata[METADATA_KEY]), "state_dict": weights}
    except (SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
