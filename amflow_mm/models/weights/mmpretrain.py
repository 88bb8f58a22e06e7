"""mmpretrain (Apache-2.0) ``VisionTransformer`` checkpoints, and its model zoo by name.

``mmpretrain::<name>`` is looked up in the index that the installed package carries, without
importing the package.
"""

import difflib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.fileio import load
from torch import Tensor

from amflow_mm.errors import WeightsError
from amflow_mm.models.weights.key_map import CLS_POSITION, KeyMap, StateDict, split_position
from amflow_mm.models.weights.normalization import Normalization, identify

NORMALIZATION = None
"""Differs by model; the zoo's configs tell."""

SCHEME = "mmpretrain::"

_MAYBE = r"(?:backbone\.)?"
_BLOCK = _MAYBE + r"layers\.(\d+)\."
KEYS = KeyMap(
    layout="mmpretrain",
    marker=_MAYBE + r"layers\.0\.ln1\.weight",
    rules=(
        (_MAYBE + r"cls_token", "embedding.cls_token"),
        (_MAYBE + r"pos_embed", "position"),
        (_MAYBE + r"dist_token", "embedding.registers"),
        (_MAYBE + r"patch_embed\.projection\.(weight|bias)", r"embedding.patch_embed.proj.\1"),
        (_MAYBE + r"pre_norm\.(weight|bias)", r"norm_pre.\1"),
        (_BLOCK + r"ln([12])\.(weight|bias)", r"blocks.\1.norm\2.\3"),
        (_BLOCK + r"attn\.(qkv|proj)\.(weight|bias)", r"blocks.\1.attn.\2.\3"),
        (_BLOCK + r"attn\.gamma1\.weight", r"blocks.\1.ls1.gamma"),
        (_BLOCK + r"ffn\.gamma2\.weight", r"blocks.\1.ls2.gamma"),
        (_BLOCK + r"ffn\.layers\.0\.0\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
        (_BLOCK + r"ffn\.layers\.1\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
        (_BLOCK + r"ffn\.(w12|w3)\.(weight|bias)", r"blocks.\1.mlp.\2.\3"),
        (_MAYBE + r"ln1\.(weight|bias)", r"norm.\1"),
    ),
    # Heads, MAE's decoder, and the running mean of self-supervised training.
    unused=(r"head\..*", r"neck\..*", r"data_preprocessor\..*", r"target_generator\..*"),
    missing=(CLS_POSITION,),
)


@dataclass(frozen=True)
class ZooModel:
    """What the zoo knows of a model.

    Args:
        url: Address of its checkpoint.
        normalization: Mean and deviation of its pixels, where its config sets them.
    """

    url: str
    normalization: Normalization | None


def convert(foreign: Mapping[str, Tensor]) -> StateDict:
    """Return the checkpoint under our names."""
    return split_position(KEYS.rename(foreign), KEYS)


def find_in_zoo(name: str) -> ZooModel:
    """Look a model of mmpretrain's zoo up by its name.

    Raises:
        WeightsError: mmpretrain is not installed, has no model of that name, or no weights of it.
    """
    root = _index_folder()
    files = {path: path.read_text(encoding="utf-8") for path in _metafiles(root)}
    names = {
        found.lower(): path
        for path, text in files.items()
        for found in re.findall(r"^ *- +Name: *[\"']?([^\s\"']+)", text, re.MULTILINE)
    }
    if name.lower() not in names:
        near = difflib.get_close_matches(name.lower(), names, n=3)
        raise WeightsError(
            f"pretrained='{SCHEME}{name}' is not in the model index of mmpretrain; "
            + (f"did you mean {', '.join(near)}?" if near else f"see {root / 'model-index.yml'}")
        )
    models = load(str(names[name.lower()])).get("Models") or []
    entry = next((m for m in models if str(m["Name"]).lower() == name.lower()), {})
    if not entry.get("Weights"):
        raise WeightsError(f"pretrained='{SCHEME}{name}': mmpretrain publishes no weights of it")
    return ZooModel(entry["Weights"], _read_normalization(root, entry))


def _index_folder() -> Path:
    """Return the folder of the index: inside the package, or above it in a checkout."""
    spec = importlib.util.find_spec("mmpretrain")
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"pretrained='{SCHEME}…' needs the index of mmpretrain, which is not installed; "
            "install requirements/optional.txt, or give the address of the checkpoint"
        )
    package = Path(next(iter(spec.submodule_search_locations)))
    for folder in (package / ".mim", package.parent):
        if (folder / "model-index.yml").is_file():
            return folder
    raise WeightsError(f"mmpretrain in {package} has no model-index.yml; install it with pip")


def _metafiles(root: Path) -> list[Path]:
    imports = load(str(root / "model-index.yml"))["Import"]
    return [root / name for name in imports if (root / name).is_file()]


def _read_normalization(root: Path, entry: Mapping[str, Any]) -> Normalization | None:
    """Read mean and deviation from the model's config, where it tells them rightly."""
    path = root / str(entry.get("Config"))
    if not path.is_file():
        return None
    cfg = Config.fromfile(str(path))
    model = cfg.get("model") or {}
    # The configs of CLIP's models, converted from timm, have ImageNet's values for all data.
    if (model.get("backbone") or {}).get("pre_norm"):
        return None
    settings = model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}
    if settings.get("mean") is None or settings.get("std") is None:
        return None
    mean, std = (tuple(map(float, settings[name])) for name in ("mean", "std"))
    return identify(mean, std)
