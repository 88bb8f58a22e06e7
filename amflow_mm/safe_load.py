"""Files of tensors read as data: what would run code is refused."""

import re
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from amflow_mm.errors import UnreadableFileError

MAX_REASON_CHARACTERS = 200


def load_data(path: str | Path, *, map_location: str | torch.device = "cpu") -> Any:
    """Read a safetensors file or what ``torch.save`` wrote, and never run code from it.

    torch is told so at each call: its default is another before torch 2.6, and environment
    variables change it.

    Args:
        path: The file; safetensors are known by their suffix.
        map_location: Where tensors go.

    Raises:
        UnreadableFileError: The file is damaged, holds more than data, or cannot be opened.
    """
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path, device=str(map_location))
        with warnings.catch_warnings():
            # torch warns of what is odd in a file before it refuses it, which says enough.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # bytes that are no checkpoint raise almost anything
        raise UnreadableFileError(f"{path} cannot be read: {explain(error)}") from error


def explain(error: Exception) -> str:
    """Say why a file of tensors could not be read, without torch's advice to run it all the same.

    Args:
        error: What ``torch.load(weights_only=True)`` or safetensors raised.

    Returns:
        What follows "cannot be read" and a colon.
    """
    text = str(error)
    if found := re.search(r"(?:GLOBAL|(?i:function)) (\S+)", text):
        name = found[1].rstrip(".")
        return f"it asks for {name}, which is refused, since weights are data alone"
    if "TorchScript" in text:
        return (
            "it is a TorchScript archive, a program, which is refused, since weights are data alone"
        )
    if ".tar format" in text:
        return "its format, of torch before 0.1.10, is refused, since it is never data alone"
    reason = text.rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
    if not reason or "weights_only" in reason:
        reason = type(error).__name__
    return reason[:MAX_REASON_CHARACTERS]
