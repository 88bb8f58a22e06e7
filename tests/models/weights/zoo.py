"""A stand-in for an installed mmpretrain with a zoo of three models."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

from amflow_mm.models.weights.normalization import CLIP

METAFILE = """
Collections:
  - Name: Vision Transformer
Models:
  - Name: ViT-tiny_in1k
    Weights: https://host/vit-tiny_20220101-0a1b2c3d.pth
    Config: configs/vit/tiny.py
  - Name: vit-untrained
    Weights: null
    Config: configs/vit/tiny.py
  - Name: vit-plain
    Weights: https://host/vit-plain.pth
    Config: configs/vit/plain.py
"""


def write_zoo(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    """Stand in for an installed mmpretrain."""
    mim = root / "mmpretrain" / ".mim"
    (mim / "configs" / "vit").mkdir(parents=True)
    index = "Import:\n  - configs/vit/metafile.yml\n  - configs/gone/metafile.yml\n"
    (mim / "model-index.yml").write_text(index)
    (mim / "configs" / "vit" / "metafile.yml").write_text(METAFILE)
    (mim / "configs" / "vit" / "tiny.py").write_text(
        f"model = dict(data_preprocessor=dict(mean={list(CLIP.mean)}, std={list(CLIP.std)}))\n"
    )
    (mim / "configs" / "vit" / "plain.py").write_text("model = dict()\n")
    spec = SimpleNamespace(submodule_search_locations=[str(root / "mmpretrain")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
