"""Temporal units by loops: one sequence ``[T, R]`` in, one sequence ``[T, R]`` out.

Weights are dictionaries of float64 arrays under neutral names; tests translate.
"""

import math
from collections.abc import Sequence

import numpy as np

from tests.reference.basics import (
    Array,
    dot,
    elementwise,
    layer_norm_of,
    linear_of,
    sigmoid,
    softmax,
)


def self_attention(tokens: Array, weights: dict[str, Array], num_heads: int) -> Array:
    """Explicit softmax attention, head by head, with ``qkv`` and ``proj`` linears.

    ``qkv`` stacks queries, keys and values of all heads, in this order.
    """
    num_tokens, width = tokens.shape
    head_dim = width // num_heads
    stacked = np.array([linear_of(token, weights, "qkv") for token in tokens])
    joined = np.zeros((num_tokens, width))
    for h in range(num_heads):
        start = h * head_dim
        q = stacked[:, start : start + head_dim]
        k = stacked[:, width + start : width + start + head_dim]
        v = stacked[:, 2 * width + start : 2 * width + start + head_dim]
        for i in range(num_tokens):
            logits = [dot(q[i], k[j]) / math.sqrt(head_dim) for j in range(num_tokens)]
            shares = softmax(logits)
            for d in range(head_dim):
                joined[i, start + d] = sum(shares[j] * v[j, d] for j in range(num_tokens))
    return np.array([linear_of(token, weights, "proj") for token in joined])


def transformer_layer(
    tokens: Array, weights: dict[str, Array], *, num_heads: int, eps: float = 1e-5
) -> Array:
    """Pre-norm: ``x + attention(LN x)``, then ``x + fc2(GELU(fc1(LN x)))``."""
    normed = np.array([layer_norm_of(token, weights, "norm1", eps) for token in tokens])
    tokens = tokens + self_attention(normed, weights, num_heads)
    out = []
    for token in tokens:
        hidden = linear_of(layer_norm_of(token, weights, "norm2", eps), weights, "fc1")
        out.append(token + linear_of(elementwise(hidden, "gelu"), weights, "fc2"))
    return np.array(out)


def depthwise_over_time(
    sequence: Array, weight: Array, bias: Array | None, *, dilation: int, causal: bool = False
) -> Array:
    """Cross-correlation over T, channel by channel, zeros beyond the ends.

    ``weight`` is ``[R, K]``. Centred (tap K // 2 reads the present) unless causal (the last
    tap reads the present).
    """
    num_frames, width = sequence.shape
    kernel = weight.shape[1]
    present = kernel - 1 if causal else kernel // 2
    out = np.zeros(sequence.shape)
    for t in range(num_frames):
        for r in range(width):
            total = 0.0 if bias is None else float(bias[r])
            for tap in range(kernel):
                source = t + (tap - present) * dilation
                if 0 <= source < num_frames:
                    total += weight[r, tap] * sequence[source, r]
            out[t, r] = total
    return out


def tcn_layer(
    sequence: Array,
    weights: dict[str, Array],
    *,
    dilation: int,
    norm_eps: float | None = None,
) -> Array:
    """``x + pointwise(GELU(depthwise(x)))``, with a layer norm first when ``norm_eps``."""
    x = sequence
    if norm_eps is not None:
        x = np.array([layer_norm_of(step, weights, "norm", norm_eps) for step in x])
    mixed = depthwise_over_time(
        x, weights["depthwise.weight"], weights.get("depthwise.bias"), dilation=dilation
    )
    steps = [linear_of(elementwise(step, "gelu"), weights, "pointwise") for step in mixed]
    return sequence + np.array(steps)


def depthwise_over_time_and_grid(
    video: Array, weight: Array, bias: Array | None, *, dilation: int
) -> Array:
    """Centred 3x3x3 (or any odd) depthwise mixing of ``[T, rows, columns, R]``.

    ``weight`` is ``[R, K_t, K_rows, K_columns]``; only time is dilated.
    """
    num_frames, rows, columns, width = video.shape
    _, kernel_t, kernel_y, kernel_x = weight.shape
    out = np.zeros(video.shape)
    for t, y, x, r in np.ndindex(*video.shape):
        total = 0.0 if bias is None else float(bias[r])
        for tap_t, tap_y, tap_x in np.ndindex(kernel_t, kernel_y, kernel_x):
            at = t + (tap_t - kernel_t // 2) * dilation
            ay = y + tap_y - kernel_y // 2
            ax = x + tap_x - kernel_x // 2
            if 0 <= at < num_frames and 0 <= ay < rows and 0 <= ax < columns:
                total += weight[r, tap_t, tap_y, tap_x] * video[at, ay, ax, r]
        out[t, y, x, r] = total
    return out


def lstm_direction(
    sequence: Array, weights: dict[str, Array], suffix: str, order: Sequence[int]
) -> Array:
    """One direction of one LSTM layer; gates stacked input, forget, cell, output."""
    w_in, w_rec = weights[f"weight_ih_{suffix}"], weights[f"weight_hh_{suffix}"]
    b_in, b_rec = weights[f"bias_ih_{suffix}"], weights[f"bias_hh_{suffix}"]
    size = w_rec.shape[1]
    hidden, cell = np.zeros(size), np.zeros(size)
    out = np.zeros((sequence.shape[0], size))
    for t in order:
        gates = [
            dot(sequence[t], w_in[row]) + b_in[row] + dot(hidden, w_rec[row]) + b_rec[row]
            for row in range(4 * size)
        ]
        new_hidden, new_cell = np.zeros(size), np.zeros(size)
        for r in range(size):
            keep_in, keep_old = sigmoid(gates[r]), sigmoid(gates[size + r])
            candidate, show = math.tanh(gates[2 * size + r]), sigmoid(gates[3 * size + r])
            new_cell[r] = keep_old * cell[r] + keep_in * candidate
            new_hidden[r] = show * math.tanh(new_cell[r])
        hidden, cell = new_hidden, new_cell
        out[t] = hidden
    return out


def lstm(sequence: Array, weights: dict[str, Array], *, bidirectional: bool) -> Array:
    """One LSTM layer from zero state; the backward direction is joined on the channels."""
    steps = range(sequence.shape[0])
    forward = lstm_direction(sequence, weights, "l0", list(steps))
    if not bidirectional:
        return forward
    backward = lstm_direction(sequence, weights, "l0_reverse", list(reversed(steps)))
    return np.concatenate([forward, backward], axis=1)
