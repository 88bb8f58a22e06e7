"""Entries of a checkpoint's file, whatever its format, without running code from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

from amflow_mm.errors import UnreadableFileError, WeightsError
from amflow_mm.models.weights.torchscript import is_torchscript, read_torchscript
from amflow_mm.safe_load import explain, load_data

WRAPPERS = ("state_dict", "model")
"""Where training code keeps the weights among optimiser and counters."""


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Args:
        entries: Tensors by name.
        metadata: What safetensors keep beside them.
    """

    entries: dict[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)


def read_checkpoint_file(path: Path) -> Checkpoint:
    """Read safetensors, a TorchScript archive, or a state dict that torch saved.

    Raises:
        WeightsError: It is none of these, is damaged, or holds more than tensors and plain
            values; nothing of it has been run.
    """
    is_safetensors = path.suffix == ".safetensors"
    if not is_safetensors and is_torchscript(path):
        return Checkpoint(read_torchscript(path))
    try:
        content = load_data(path)
    except UnreadableFileError as error:
        raise WeightsError(
            f"it cannot be read: {explain(error.__cause__)}; a state dict alone, as safetensors "
            "or by torch.save, can be"
        ) from error
    return Checkpoint(_tensors(content), _metadata(path) if is_safetensors else {})


def _metadata(path: Path) -> Mapping[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def _tensors(checkpoint: Any) -> dict[str, Tensor]:
    if not isinstance(checkpoint, dict):
        raise WeightsError(f"it holds a {type(checkpoint).__name__}, not a checkpoint")
    for wrapper in WRAPPERS:
        if isinstance(checkpoint.get(wrapper), dict):
            checkpoint = checkpoint[wrapper]
    others = [name for name, value in checkpoint.items() if not isinstance(value, Tensor)]
    if others or not checkpoint:
        raise WeightsError(
            f"it holds no state dict: {others[:5]} are not tensors; weights are looked for at the "
            f"top and under {', '.join(WRAPPERS)}"
        )
    return dict(checkpoint)
