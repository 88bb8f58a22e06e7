"""Decoded clips on disk, so that later epochs need not decode them again."""

from amflow_mm.datasets.clip_cache.keys import ClipKey, Recipe, make_key, make_recipe
from amflow_mm.datasets.clip_cache.payload import Clip, ClipEncoding, Encoding
from amflow_mm.datasets.clip_cache.store import ClipStore

__all__ = [
    "Clip",
    "ClipEncoding",
    "ClipKey",
    "ClipStore",
    "Encoding",
    "Recipe",
    "make_key",
    "make_recipe",
]
