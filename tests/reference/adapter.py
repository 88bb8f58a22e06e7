"""The temporal processing adapter by loops, step by step as the method writes it.

Assumptions where the method leaves room: prefix tokens (CLS, registers) have gain 1, take
no flow feature, and take no part in the pooling. With both paths the feature is added to the
gained tokens, ``h w + W_f log(1 + w)``. Without a gain, w weighs nothing, the pooling neither.
With ``pooling='global'`` the unit's output is broadcast over *all* tokens; with
``pooling='token'`` the unit, which is residual, replaces the patches and leaves the prefix.
"""

import math
from collections.abc import Callable

import numpy as np

from tests.reference.basics import Array, elementwise, linear_of

Unit = Callable[[Array], Array]


def bottleneck(tokens: Array, weights: dict[str, Array]) -> Array:
    """``GELU(W_down a)`` for ``[T, N, C]``."""
    num_frames, num_tokens, _ = tokens.shape
    rows = [
        [elementwise(linear_of(tokens[t, n], weights, "down"), "gelu") for n in range(num_tokens)]
        for t in range(num_frames)
    ]
    return np.array(rows)


def with_flow(
    h: Array, w: Array, num_prefix_tokens: int, *, flow_as: str, feature: Array | None
) -> Array:
    """Bring ``w`` ``[T, P]`` to the patches of ``h`` as a gain, as a feature, or as both.

    The feature of a patch is ``feature * log(1 + w)``, a vector of R numbers.
    """
    out = h.copy()
    for t in range(h.shape[0]):
        for j in range(w.shape[1]):
            for r in range(h.shape[2]):
                value = h[t, num_prefix_tokens + j, r]
                if flow_as in ("gain", "both"):
                    value = value * w[t, j]
                if flow_as in ("feature", "both"):
                    assert feature is not None
                    value = value + feature[r] * math.log(1.0 + w[t, j])
                out[t, num_prefix_tokens + j, r] = value
    return out


def pool_by_motion(h: Array, w: Array, num_prefix_tokens: int) -> Array:
    """``g_t = sum_j w_tj h_tj / sum_j w_tj`` over patches: ``[T, R]``."""
    num_frames, _, width = h.shape
    g = np.zeros((num_frames, width))
    for t in range(num_frames):
        total = sum(w[t, j] for j in range(w.shape[1]))
        for r in range(width):
            weighted = [w[t, j] * h[t, num_prefix_tokens + j, r] for j in range(w.shape[1])]
            g[t, r] = sum(weighted) / total
    return g


def coarse_map(w: Array, grid: tuple[int, int], coarse: tuple[int, int]) -> Array:
    """Average ``w`` ``[T, P]`` over the cells of a coarse grid: ``[T, cells]``.

    Cell c of C over n patches covers floor(c n / C) up to ceil((c + 1) n / C).
    """
    rows, columns = grid
    out = np.zeros((w.shape[0], coarse[0] * coarse[1]))
    for t in range(w.shape[0]):
        for cy in range(coarse[0]):
            for cx in range(coarse[1]):
                span_y = range(cy * rows // coarse[0], math.ceil((cy + 1) * rows / coarse[0]))
                span_x = range(cx * columns // coarse[1], math.ceil((cx + 1) * columns / coarse[1]))
                cell = [w[t, y * columns + x] for y in span_y for x in span_x]
                out[t, cy * coarse[1] + cx] = sum(cell) / len(cell)
    return out


def global_mixture(
    h: Array,
    flowed: Array,
    w: Array,
    grid: tuple[int, int],
    *,
    num_prefix_tokens: int,
    flow_as: str,
    weights: dict[str, Array],
    unit: Unit,
) -> Array:
    """``unit(g + position)`` ``[T, R]``, g being pooled and joined by the coarse flow map."""
    ones = np.ones(w.shape)
    if flow_as == "feature":
        g = pool_by_motion(flowed, ones, num_prefix_tokens)
    else:
        g = pool_by_motion(h, w, num_prefix_tokens)
    if flow_as != "gain":
        side = round(weights["flow_map.weight"].shape[1] ** 0.5)
        logarithm = np.array([[math.log(1.0 + value) for value in frame] for frame in w])
        maps = coarse_map(logarithm, grid, (side, side))
        g = g + np.array([linear_of(frame, weights, "flow_map") for frame in maps])
    return unit(g + weights["position"][: len(g)])


def temporal_adapter(
    a: Array,
    w: Array,
    grid: tuple[int, int],
    weights: dict[str, Array],
    *,
    unit: Unit,
    flow_as: str,
    pooling: str,
    scale: float,
) -> Array:
    """What the adapter adds to the attention's output of one clip, ``[T, N, C]``.

    Weights: ``down``, ``up``, ``position`` ``[T, R]``, ``feature`` ``[R]``, ``flow_map``.
    """
    num_frames, num_tokens, _ = a.shape
    num_prefix_tokens = num_tokens - w.shape[1]
    h = bottleneck(a, weights)
    mixed = with_flow(h, w, num_prefix_tokens, flow_as=flow_as, feature=weights.get("feature"))
    if pooling == "token":
        for j in range(num_prefix_tokens, num_tokens):
            mixed[:, j] = unit(mixed[:, j] + weights["position"][:num_frames])
    elif pooling == "global":
        u = global_mixture(
            h,
            mixed,
            w,
            grid,
            num_prefix_tokens=num_prefix_tokens,
            flow_as=flow_as,
            weights=weights,
            unit=unit,
        )
        for n in range(num_tokens):
            mixed[:, n] = mixed[:, n] + u
    else:
        raise AssertionError(pooling)
    return up(mixed, weights, scale)


def up(h: Array, weights: dict[str, Array], scale: float) -> Array:
    """``s * W_up(h)`` for ``[T, N, R]``."""
    num_frames, num_tokens, _ = h.shape
    rows = [
        [scale * linear_of(h[t, n], weights, "up") for n in range(num_tokens)]
        for t in range(num_frames)
    ]
    return np.array(rows)
