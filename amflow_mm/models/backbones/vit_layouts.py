"""Layouts and sizes of published image transformers, by the names that configs give them.

Layouts:
    clip    Radford et al., arXiv:2103.00020, https://github.com/openai/CLIP (MIT)
    dinov2  Oquab et al., arXiv:2304.07193; registers: Darcet et al., arXiv:2309.16588;
            https://github.com/facebookresearch/dinov2 (Apache-2.0)
    dinov2_hf  the same, run as by https://github.com/huggingface/transformers (Apache-2.0)
    open_clip  Ilharco et al., https://github.com/mlfoundations/open_clip (MIT)
    mae     He et al., arXiv:2111.06377, https://github.com/facebookresearch/mae (CC-BY-NC 4.0);
            DeiT as https://github.com/facebookresearch/deit (Apache-2.0) runs it
    timm    Dosovitskiy et al., arXiv:2010.11929 as in AugReg, DeiT and timm (Apache-2.0)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from amflow_mm.models.layers.mlp import Activation

FamilyName = Literal["clip", "open_clip", "dinov2", "dinov2_hf", "timm", "mae"]


@dataclass(frozen=True)
class Family:
    """What distinguishes the layouts of published image transformers.

    Args:
        image_size: Side in pixels at which the published positions were learned.
        norm_eps: Epsilon of all norms.
        activation: Of the feed-forward layers.
        embedding_norm: Normalise the tokens before the first block (CLIP's ``ln_pre``).
        patch_bias: Whether the patch projection has a bias.
        layer_scale: Scale residual branches per channel.
        position_offset: See ``resample_position_grid``.
        position_antialias: See ``resample_position_grid``.
    """

    image_size: int = 224
    norm_eps: float = 1e-6
    activation: Activation = "gelu"
    embedding_norm: bool = False
    patch_bias: bool = True
    layer_scale: bool = False
    position_offset: float = 0.0
    position_antialias: bool = False


FAMILIES: dict[str, Family] = {
    "clip": Family(norm_eps=1e-5, activation="quick_gelu", embedding_norm=True, patch_bias=False),
    # open_clip/model.py, resize_pos_embed: antialias=True; GELU unless the name says quickgelu.
    "open_clip": Family(
        norm_eps=1e-5, embedding_norm=True, patch_bias=False, position_antialias=True
    ),
    "dinov2": Family(image_size=518, layer_scale=True, position_offset=0.1),
    # Where Meta's code resamples positions by a scale with an offset, Hugging Face's
    # (Dinov2Embeddings.interpolate_pos_encoding) and what is exported from it resample to a size.
    # In the ONNX file of the embedded ViT-S/14 the Resize takes sizes, cubic_coeff_a=-0.75 and
    # half_pixel, which is F.interpolate(size=..., mode="bicubic", align_corners=False). At 112
    # pixels onnxruntime's tokens after each block are ours within 2e-6 of their norm; an offset
    # of 0.1 moves them by a few per cent.
    "dinov2_hf": Family(image_size=518, layer_scale=True),
    "timm": Family(position_antialias=True),
    "mae": Family(),  # util/pos_embed.py: resampled to the size, unfiltered; so does DeiT's code
}


@dataclass(frozen=True)
class Size:
    """Widths and depth of a transformer; ``gated_mlp`` marks DINOv2's ViT-g."""

    embed_dim: int
    depth: int
    num_heads: int
    mlp_dim: int
    gated_mlp: bool = False


SIZES: dict[str, Size] = {
    "ti": Size(192, 12, 3, 768),
    "s": Size(384, 12, 6, 1536),
    "b": Size(768, 12, 12, 3072),
    "l": Size(1024, 24, 16, 4096),
    "g": Size(1536, 40, 24, 4096, gated_mlp=True),
}


def parse_variant(variant: str | dict[str, int]) -> tuple[Size, int]:
    """Return the size and the patch side of a variant such as ``"b16"``.

    Raises:
        ValueError: The name is not a known size followed by a patch side in pixels, or the dict
            does not hold the fields of a size and of the patches.
    """
    if not isinstance(variant, str):
        return _parse_fields(dict(variant))
    match = re.fullmatch(r"([a-z]+)([1-9]\d*)", variant)
    if match is None or match[1] not in SIZES:
        raise ValueError(
            f"variant={variant!r} must be one of {', '.join(SIZES)} followed by the patch side "
            "in pixels, such as 'b16', or a dict of Size's fields and patch_size"
        )
    return SIZES[match[1]], int(match[2])


def _parse_fields(variant: dict[str, int]) -> tuple[Size, int]:
    known = {field.name for field in fields(Size)} | {"patch_size"}
    missing = sorted(known - {"gated_mlp"} - variant.keys())
    unknown = sorted(variant.keys() - known)
    if missing or unknown:
        raise ValueError(
            f"variant={variant} must have the fields embed_dim, depth, num_heads, mlp_dim and "
            f"patch_size, and may have gated_mlp; add {missing}, remove or rename {unknown}"
        )
    return Size(**{k: v for k, v in variant.items() if k != "patch_size"}), variant["patch_size"]


def position_side(image_size: int | None, patch_size: int, family: FamilyName) -> int:
    """Return how many patches stand on a side of the image whose positions the weights hold.

    Raises:
        ValueError: The patches do not divide the image.
    """
    side = FAMILIES[family].image_size if image_size is None else image_size
    if side < patch_size or side % patch_size:
        origin = f", the usual one of family={family!r}," if image_size is None else ""
        raise ValueError(
            f"image_size={side}{origin} must be a multiple of the patch side {patch_size}; pass "
            "the size at which the weights' positions were learned (frames may have another)"
        )
    return side // patch_size


def check_layers(name: str, layers: Sequence[int] | None, depth: int) -> tuple[int, ...]:
    """Return the blocks meant, in order.

    Raises:
        ValueError: A block does not exist or is named twice.
    """
    chosen = tuple(range(depth)) if layers is None else tuple(layers)
    if len(set(chosen)) != len(chosen) or any(not 0 <= layer < depth for layer in chosen):
        raise ValueError(f"{name}={list(chosen)} must be different blocks from 0 to {depth - 1}")
    return tuple(sorted(chosen))
