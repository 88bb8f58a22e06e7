"""AM flow by loops: attention maps, their change, and what it says of each patch.

``w_t[j] = sum over queries i of softmax_over_keys(|A_t - A_{t+1}| / temperature)[i, j]``
with A the head-mean attention map restricted to patch rows and patch columns *after*
the softmax over all N keys. With a correspondence P_t, frame t + 1 is seen from frame t:
``A_{t+1} -> P_t A_{t+1} P_t^T``.
"""

import math

import numpy as np

from tests.reference.basics import Array, dot, softmax, to_numpy


def head_map(q: Array, k: Array, source: str) -> Array:
    """One head of one frame: ``[N, N]`` weights ('post') or scaled logits ('pre')."""
    num_tokens, head_dim = q.shape
    rows = []
    for i in range(num_tokens):
        logits = [dot(q[i], k[j]) / math.sqrt(head_dim) for j in range(num_tokens)]
        rows.append(softmax(logits) if source == "post" else logits)
    return np.array(rows)


def patch_maps(q: Array, k: Array, num_prefix_tokens: int, source: str) -> Array:
    """All heads of one frame ``[H, N, D]``: maps over patches only, ``[H, P, P]``."""
    num_heads, num_tokens, _ = q.shape
    num_patches = num_tokens - num_prefix_tokens
    maps = np.zeros((num_heads, num_patches, num_patches))
    for h in range(num_heads):
        whole = head_map(q[h], k[h], source)
        for i in range(num_patches):
            for j in range(num_patches):
                maps[h, i, j] = whole[num_prefix_tokens + i, num_prefix_tokens + j]
    return maps


def warp_map(attention: Array, correspondence: Array) -> Array:
    """``P A P^T`` by four loops: both axes move."""
    num_patches = attention.shape[0]
    half = np.zeros((num_patches, num_patches))
    for i in range(num_patches):
        for m in range(num_patches):
            half[i, m] = sum(correspondence[i, n] * attention[n, m] for n in range(num_patches))
    out = np.zeros((num_patches, num_patches))
    for i in range(num_patches):
        for j in range(num_patches):
            out[i, j] = sum(half[i, m] * correspondence[j, m] for m in range(num_patches))
    return out


def mean_over_heads(maps: Array) -> Array:
    """Average ``[H, P, P]`` over its heads."""
    num_heads, rows, columns = maps.shape
    out = np.zeros((rows, columns))
    for i in range(rows):
        for j in range(columns):
            out[i, j] = sum(maps[h, i, j] for h in range(num_heads)) / num_heads
    return out


def absolute_difference(a: Array, b: Array) -> Array:
    """|a - b|, entry by entry."""
    out = np.zeros(a.shape)
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            out[i, j] = abs(a[i, j] - b[i, j])
    return out


def reduce_softmax(change: Array, temperature: float) -> Array:
    """Softmax over keys, then the sum over queries."""
    num_patches = change.shape[0]
    w = np.zeros(num_patches)
    for i in range(num_patches):
        row = softmax([change[i, j] / temperature for j in range(num_patches)])
        for j in range(num_patches):
            w[j] += row[j]
    return w


def reduce_row(change: Array) -> Array:
    """Each row over its own sum (a zero row counts as uniform), then summed over queries."""
    num_patches = change.shape[0]
    w = np.zeros(num_patches)
    for i in range(num_patches):
        total = sum(change[i, j] for j in range(num_patches))
        for j in range(num_patches):
            w[j] += 1.0 / num_patches if total == 0.0 else change[i, j] / total
    return w


def reduce_column(change: Array) -> Array:
    """P times the column's share of all change; ones where nothing changed."""
    num_patches = change.shape[0]
    columns = [sum(change[i, j] for i in range(num_patches)) for j in range(num_patches)]
    total = sum(columns)
    if total == 0.0:
        return np.ones(num_patches)
    return np.array([num_patches * column / total for column in columns])


def change_between(
    q: Array,
    k: Array,
    *,
    num_prefix_tokens: int,
    source: str,
    correspondence: Array | None,
    average_heads: str,
) -> Array:
    """|A_0 - A_1| of two frames, q and k ``[2, H, N, D]``, as one ``[P, P]`` map."""
    first = patch_maps(q[0], k[0], num_prefix_tokens, source)
    second = patch_maps(q[1], k[1], num_prefix_tokens, source)
    if average_heads == "before":
        first = mean_over_heads(first)[None]
        second = mean_over_heads(second)[None]
    elif average_heads != "after":
        raise AssertionError(average_heads)
    changes = []
    for one, other in zip(first, second, strict=True):
        moved = other if correspondence is None else warp_map(other, correspondence)
        changes.append(absolute_difference(one, moved))
    return mean_over_heads(np.array(changes))


def attention_map_flow(
    q: object,
    k: object,
    *,
    num_prefix_tokens: int = 1,
    temperature: float | str = "auto",
    source: str = "post",
    normalize: str = "softmax",
    correspondence: object | None = None,
    average_heads: str = "before",
) -> Array:
    """AM flow ``[B, T, P]`` of q and k ``[B, T, H, N, D]``; the last step is repeated."""
    q, k = to_numpy(q), to_numpy(k)
    warps = None if correspondence is None else to_numpy(correspondence)
    num_clips, num_frames, _, num_tokens, _ = q.shape
    num_patches = num_tokens - num_prefix_tokens
    scale = 1.0 / num_patches if temperature == "auto" else float(temperature)
    out = np.zeros((num_clips, num_frames, num_patches))
    for b in range(num_clips):
        for t in range(num_frames - 1):
            change = change_between(
                q[b, t : t + 2],
                k[b, t : t + 2],
                num_prefix_tokens=num_prefix_tokens,
                source=source,
                correspondence=None if warps is None else warps[b, t],
                average_heads=average_heads,
            )
            if normalize == "softmax":
                out[b, t] = reduce_softmax(change, scale)
            elif normalize == "row":
                out[b, t] = reduce_row(change)
            elif normalize == "column":
                out[b, t] = reduce_column(change)
            else:
                raise AssertionError(normalize)
        out[b, num_frames - 1] = out[b, num_frames - 2]
    return out
