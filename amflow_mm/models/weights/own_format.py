"""Image weights under our own names: safetensors that also keep what no tensor tells."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save_file

from amflow_mm.errors import WeightsError
from amflow_mm.models.weights.key_map import StateDict
from amflow_mm.models.weights.normalization import Normalization, identify

MARKER = "embedding.cls_token"
"""An entry of every file under our names."""

METADATA_KEY = LAYOUT = "amflow_mm"


@dataclass(frozen=True)
class LoadedWeights:
    """Image weights as read.

    Args:
        state: Tensors under our names.
        normalization: Mean and deviation of the pixels in training, where known.
        activation: Of the feed-forward layers, where known; the tensors do not tell.
        layout: Whose names the entries of the file had.
    """

    state: StateDict
    normalization: Normalization | None = None
    activation: str | None = None
    layout: str = LAYOUT


def save_image_weights(
    weights: LoadedWeights,
    path: Path,
    *,
    source: str,
    facts: Mapping[str, str | None] | None = None,
) -> None:
    """Write weights that are read again without conversion; the file appears when it is whole.

    Args:
        weights: What to write.
        path: A file that ends in ``.safetensors``.
        source: Where the weights come from, for the reader.
        facts: What else the reader may want to know.
    """
    if path.suffix != ".safetensors":
        raise ValueError(f"path={path} must end in .safetensors, by which the format is told")
    pixels = weights.normalization
    facts = {
        **(facts or {}),
        "source": source,
        "mean": pixels and pixels.mean,
        "std": pixels and pixels.std,
        "activation": weights.activation,
    }
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        part = Path(scratch) / path.name
        state = {name: value.contiguous() for name, value in weights.state.items()}
        save_file(state, part, {"format": "pt", METADATA_KEY: json.dumps(facts)})
        os.replace(part, path)


def read_own_format(state: StateDict, metadata: Mapping[str, str]) -> LoadedWeights:
    """Return weights that :func:`save_image_weights` wrote, or others under our names.

    Raises:
        WeightsError: The metadata is damaged.
    """
    text = metadata.get(METADATA_KEY, "{}")
    try:
        facts = json.loads(text)
        mean, std = facts.get("mean"), facts.get("std")
        pixels = identify(mean, std) if mean and std else None
        return LoadedWeights(state, pixels, facts.get("activation"))
    except (AttributeError, TypeError, ValueError) as error:
        raise WeightsError(f"metadata {METADATA_KEY}={text[:200]!r} is damaged: {error}") from error
