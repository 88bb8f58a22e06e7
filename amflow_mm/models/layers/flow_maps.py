"""Attention maps of one frame after the other, made in tiles that are used again and again.

Per head there are T x H x N x N weights in a clip; all that AM flow asks for is their mean over the
heads, for two frames at a time. So the weights of a few query rows are made, averaged and
overwritten. Fresh memory for every map costs a CPU more than the arithmetic.

Axes: B clips, T frames, H heads, N tokens, P patches (``N = prefix + P``), D head width.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Source = Literal["post", "pre"]
AverageHeads = Literal["before", "after"]

TILE = {"cpu": 2**20, "cuda": 2**26}  # weights of single heads at a time: the cache; launches


def frame_maps(
    q: Float[Tensor, "B T H N D"],
    k: Float[Tensor, "B T H N D"],
    num_prefix_tokens: int,
    *,
    source: Source,
    average_heads: AverageHeads,
) -> Iterator[Float[Tensor, "B G P P"]]:
    """Yield the patch-to-patch map of each frame; G is 1 or, not averaged, H.

    Maps carry no gradient.

    Args:
        q: Queries before the ``1/sqrt(D)`` scale; half precision is computed in single.
        k: Keys.
        num_prefix_tokens: Tokens whose rows and columns are dropped, after the softmax.
        source: Weights (``"post"``) or their logits (``"pre"``).
        average_heads: ``"before"`` averages here; ``"after"`` leaves that to the caller.

    Raises:
        ValueError: An option that does not exist.
    """
    if source not in ("post", "pre"):
        raise ValueError(f"source={source!r} must be one of 'post', 'pre'")
    if average_heads not in ("before", "after"):
        raise ValueError(f"average_heads={average_heads!r} must be one of 'before', 'after'")
    q, k = q.detach(), k.detach()
    dtype = torch.promote_types(q.dtype, torch.float32)
    num_clips, num_frames, num_heads, num_tokens, _ = q.shape
    num_patches = num_tokens - num_prefix_tokens
    clips_at_once, rows_at_once = _tile_size(q, num_patches)
    scratch = q.new_empty(clips_at_once * num_heads * rows_at_once * num_tokens, dtype=dtype)
    num_groups = 1 if average_heads == "before" else num_heads
    for t in range(num_frames):
        maps = q.new_empty(num_clips, num_groups, num_patches, num_patches, dtype=dtype)
        for clips in _slices(num_clips, clips_at_once):
            # Of a single clip both are views whatever the layout of q and k: nothing is copied.
            queries = q[clips, t].to(dtype).flatten(0, 1)
            keys = k[clips, t].to(dtype).flatten(0, 1)
            for rows in _slices(num_patches, rows_at_once):
                asking = queries[:, num_prefix_tokens:][:, rows]
                weights = _weights(asking, keys, source, scratch).unflatten(0, (-1, num_heads))
                if average_heads == "before":
                    weights = weights.mean(dim=1, keepdim=True)
                maps[clips, :, rows] = weights[..., num_prefix_tokens:]
        yield maps


def _weights(
    queries: Float[Tensor, "F Q D"],
    keys: Float[Tensor, "F N D"],
    source: Source,
    scratch: Float[Tensor, " S"],
) -> Float[Tensor, "F Q N"]:
    """Attention weights of some rows of F heads, written to ``scratch``."""
    shape = (*queries.shape[:2], keys.shape[1])
    out = scratch[: math.prod(shape)].view(shape)
    scale = queries.shape[-1] ** -0.5
    torch.baddbmm(out, queries, keys.transpose(-1, -2), beta=0, alpha=scale, out=out)
    if source == "post":
        torch.softmax(out, dim=-1, out=out)
    return out


def _tile_size(q: Float[Tensor, "B T H N D"], num_patches: int) -> tuple[int, int]:
    """Clips and query rows to take at once: as many rows as fit, several clips only if small."""
    num_clips, _, num_heads, num_tokens, _ = q.shape
    tile = TILE.get(q.device.type, TILE["cuda"])
    row = num_heads * num_tokens
    clips = max(1, tile // 4 // (row * num_patches))
    return min(clips, num_clips), min(max(1, tile // row), num_patches)


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))
