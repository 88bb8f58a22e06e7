"""AM flow of a static camera in one Triton kernel. Import this only where Triton is installed.

A program owns a frame pair and a few query rows. Over the heads it makes both frames' rows of the
attention map, whole, in registers; then takes their difference, divides it within each row and
adds the rows up. What reaches memory are its column sums: no map, not even one averaged over
heads. Products are accumulated in single precision, so that half-precision q and k give what
:mod:`.flow_maps` gives.

Axes: B clips, T frames, H heads, N tokens, P patches (``N = prefix + P``), D head width.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

NORMALIZATIONS = {"softmax": 0, "row": 1, "column": 2}


def column_sums(
    q: Float[Tensor, "B T H N D"],
    k: Float[Tensor, "B T H N D"],
    num_prefix_tokens: int,
    temperature: float,
    *,
    source: str,
    normalize: str,
) -> Float[Tensor, "B T-1 P"]:
    """Sum over queries of what each frame pair's difference says of every key patch.

    Of ``normalize="softmax"`` and ``"row"`` the rows are distributions, and the sums are the flow;
    ``"column"`` leaves its one division, by the mean over the patches, to the caller.

    Raises:
        ValueError: An option that does not exist.
    """
    if normalize not in NORMALIZATIONS:
        raise ValueError(f"normalize={normalize!r} must be one of 'softmax', 'row', 'column'")
    if source not in ("post", "pre"):
        raise ValueError(f"source={source!r} must be one of 'post', 'pre'")
    num_clips, num_frames, num_heads, num_tokens, head_dim = q.shape
    num_pairs = num_clips * (num_frames - 1)
    block_keys = max(16, triton.next_power_of_2(num_tokens))
    block_rows = 32 if block_keys <= 256 else 16
    num_blocks = triton.cdiv(num_tokens - num_prefix_tokens, block_rows)
    # One row of sums per program, added up afterwards: atomic additions come in any order.
    partial = q.new_empty(num_pairs, num_blocks, num_tokens, dtype=torch.float32)
    with torch.cuda.device_of(q):
        _pair_kernel[(num_pairs, num_blocks)](
            q, k, partial,
            *q.stride()[:4], *k.stride()[:4],
            num_frames - 1, num_heads, num_tokens, num_prefix_tokens,
            head_dim**-0.5, 1.0 / temperature,
            is_post=source == "post",
            normalize=NORMALIZATIONS[normalize],
            head_dim=head_dim,
            block_rows=block_rows,
            block_keys=block_keys,
            num_warps=8,
            num_stages=2,
        )  # fmt: skip
    sums = partial.sum(dim=1)[:, num_prefix_tokens:]
    return sums.unflatten(0, (num_clips, num_frames - 1))


@triton.jit
def _head_rows(
    q, k, q_stride, k_stride, rows, keys, num_tokens, scale,
    is_post: tl.constexpr, head_dim: tl.constexpr,
):  # fmt: skip
    """Rows of one head's map of one frame, over all keys."""
    width = tl.arange(0, head_dim)
    queries = tl.load(
        q + rows[:, None] * q_stride + width[None, :], mask=rows[:, None] < num_tokens, other=0.0
    )
    columns = tl.load(
        k + keys[None, :] * k_stride + width[:, None], mask=keys[None, :] < num_tokens, other=0.0
    )
    logits = tl.dot(queries, columns, input_precision="ieee") * scale
    if is_post:
        logits = tl.where(keys[None, :] < num_tokens, logits, -float("inf"))
        weights = tl.exp(logits - tl.max(logits, axis=1)[:, None])
        logits = weights / tl.sum(weights, axis=1)[:, None]
    return logits


@triton.jit
def _divide_rows(
    difference, is_key, num_patches, inverse_temperature, normalize: tl.constexpr
):  # fmt: skip
    """Softmax (0) or share (1) within each row; as it is (2)."""
    if normalize == 0:
        logits = tl.where(is_key, difference * inverse_temperature, -float("inf"))
        weights = tl.exp(logits - tl.max(logits, axis=1)[:, None])
        difference = weights / tl.sum(weights, axis=1)[:, None]
    if normalize == 1:
        total = tl.sum(difference, axis=1)[:, None]
        share = difference / tl.where(total > 0, total, 1.0)
        difference = tl.where(total > 0, share, 1.0 / num_patches)
    return difference


@triton.jit
def _pair_kernel(
    q, k, partial,
    q_clip, q_frame, q_head, q_token, k_clip, k_frame, k_head, k_token,
    num_steps, num_heads, num_tokens, num_prefix, scale, inverse_temperature,
    is_post: tl.constexpr, normalize: tl.constexpr,
    head_dim: tl.constexpr, block_rows: tl.constexpr, block_keys: tl.constexpr,
):  # fmt: skip
    """Column sums of one frame pair over a few query rows."""
    pair, block = tl.program_id(0), tl.program_id(1)
    clip, step = (pair // num_steps).to(tl.int64), (pair % num_steps).to(tl.int64)
    q += clip * q_clip + step * q_frame
    k += clip * k_clip + step * k_frame
    rows = num_prefix + block * block_rows + tl.arange(0, block_rows)
    keys = tl.arange(0, block_keys)
    here = tl.zeros([block_rows, block_keys], dtype=tl.float32)
    there = tl.zeros([block_rows, block_keys], dtype=tl.float32)
    for _ in range(num_heads):
        here += _head_rows(
            q, k, q_token, k_token, rows, keys, num_tokens, scale, is_post, head_dim
        )  # fmt: skip
        there += _head_rows(
            q + q_frame, k + k_frame,
            q_token, k_token, rows, keys, num_tokens, scale, is_post, head_dim,
        )  # fmt: skip
        q += q_head
        k += k_head
    is_key = (keys >= num_prefix) & (keys < num_tokens)
    is_patch = (rows < num_tokens)[:, None] & is_key[None, :]
    here = tl.where(is_patch, here / num_heads, 0.0)
    difference = tl.abs(here - tl.where(is_patch, there / num_heads, 0.0))
    # What rounding can make counts as zero, as in `map_difference`; here by the row's largest.
    noise = 16 * 1.1920929e-07 * tl.max(tl.abs(here), axis=1)
    difference = tl.where(difference <= noise[:, None], 0.0, difference)
    weights = _divide_rows(
        difference, is_key[None, :], num_tokens - num_prefix, inverse_temperature, normalize
    )
    weights = tl.where(is_patch, weights, 0.0)
    out = partial + (pair.to(tl.int64) * tl.num_programs(1) + block) * num_tokens
    tl.store(out + keys, tl.sum(weights, axis=0), mask=keys < num_tokens)
