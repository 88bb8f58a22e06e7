"""The peers' blocks by loops, written from the equations of their papers, one clip at a time.

Axes: ``x`` is ``[T, N, C]``. Weights carry the image model's neutral names (``norm1.weight``,
``qkv.weight``, ``fc1.weight``, ``ls1``) and, under a prefix for each place, the adapters' ``down``,
``up`` and ``conv``.
"""

from collections.abc import Callable

import numpy as np

from tests.reference.basics import Array, elementwise, layer_norm_of, linear_of, sub_weights
from tests.reference.temporal_units import self_attention
from tests.reference.vit import mlp, scaled

Attention = Callable[[Array], Array]


def plain_adapter(token: Array, weights: dict[str, Array], activation: str) -> Array:
    """``W_up activation(W_down x)`` for one token."""
    return linear_of(elementwise(linear_of(token, weights, "down"), activation), weights, "up")


def per_token(x: Array, function: Callable[[Array], Array]) -> Array:
    """Apply a function of one token to each."""
    return np.array([[function(token) for token in frame] for frame in x])


def attention_branch(tokens: Array, weights: dict[str, Array], num_heads: int) -> Array:
    """The frozen attention of a sequence ``[n, C]``, LayerScale included."""
    attended = self_attention(tokens, weights, num_heads)
    return np.array([scaled(token, weights, "ls1") for token in attended])


def over_frames(x: Array, attend: Attention) -> Array:
    """Each token position attends over its own T occurrences."""
    out = np.zeros(x.shape)
    for n in range(x.shape[1]):
        out[:, n] = attend(x[:, n])
    return out


def within_frames(x: Array, attend: Attention) -> Array:
    """The tokens of each frame attend to each other."""
    return np.array([attend(frame) for frame in x])


def mlp_branch(token: Array, weights: dict[str, Array], activation: str) -> Array:
    """The frozen feed-forward layer of a normalised token, LayerScale included."""
    return scaled(mlp(token, weights, activation), weights, "ls2")


def aim_block(
    x: Array,
    weights: dict[str, Array],
    *,
    num_heads: int,
    activation: str,
    eps: float,
    scale: float,
) -> Array:
    """AIM, arXiv:2302.03024, section 3.

    x = x + T(MSA_T(LN1 x)), or T(MSA_T(h + T_in h)) with h = LN1 x; x = x + a + S(a);
    x = x + MLP(LN2 x) + s M(LN2 x).
    """

    def attend(tokens: Array) -> Array:
        return attention_branch(tokens, weights, num_heads)

    def adapt(place: str) -> Callable[[Array], Array]:
        own = sub_weights(weights, f"{place}.")
        return lambda token: plain_adapter(token, own, "gelu")

    h = per_token(x, lambda token: layer_norm_of(token, weights, "norm1", eps))
    if "over_time.before.down.weight" in weights:
        h = h + per_token(h, adapt("over_time.before"))
    x = x + per_token(over_frames(h, attend), adapt("over_time.after"))

    h = per_token(x, lambda token: layer_norm_of(token, weights, "norm1", eps))
    a = within_frames(h, attend)
    x = x + a + per_token(a, adapt("after_attention"))

    h = per_token(x, lambda token: layer_norm_of(token, weights, "norm2", eps))
    x = x + per_token(h, lambda token: mlp_branch(token, weights, activation))
    return x + scale * per_token(h, adapt("beside_mlp"))


def st_adapter(x: Array, weights: dict[str, Array], grid: tuple[int, int]) -> Array:
    """ST-Adapter, arXiv:2206.13559: ``W_up DWConv3d(W_down x)`` of the patches, else zero.

    Outside of the clip and of the frame the convolution sees zeros.
    """
    rows, columns = grid
    num_frames, num_tokens, width = x.shape
    num_prefix = num_tokens - rows * columns
    down = per_token(x[:, num_prefix:], lambda token: linear_of(token, weights, "down"))
    h = down.reshape(num_frames, rows, columns, -1)
    kernel, bias = weights["conv.weight"], weights["conv.bias"]
    out = np.zeros((num_frames, num_tokens, width))
    for t, row, column in np.ndindex(num_frames, rows, columns):
        mixed = np.array([float(value) for value in bias])
        for i, j, k in np.ndindex(kernel.shape[2:]):
            at = tuple(
                place + offset - size // 2
                for place, offset, size in zip(
                    (t, row, column), (i, j, k), kernel.shape[2:], strict=True
                )
            )
            if all(0 <= p < size for p, size in zip(at, h.shape[:3], strict=True)):
                for r in range(len(mixed)):
                    mixed[r] += kernel[r, 0, i, j, k] * h[(*at, r)]
        out[t, num_prefix + row * columns + column] = linear_of(mixed, weights, "up")
    return out


def st_adapter_block(
    x: Array,
    weights: dict[str, Array],
    grid: tuple[int, int],
    *,
    num_heads: int,
    activation: str,
    eps: float,
) -> Array:
    """Residual ST-Adapters on x before the attention, before the MLP, or before both."""

    def adapted(tokens: Array, place: str) -> Array:
        own = sub_weights(weights, f"{place}.")
        return tokens + st_adapter(tokens, own, grid) if own else tokens

    x = adapted(x, "before_attention")
    h = per_token(x, lambda token: layer_norm_of(token, weights, "norm1", eps))
    x = x + within_frames(h, lambda tokens: attention_branch(tokens, weights, num_heads))
    x = adapted(x, "before_mlp")
    h = per_token(x, lambda token: layer_norm_of(token, weights, "norm2", eps))
    return x + per_token(h, lambda token: mlp_branch(token, weights, activation))


def adaptformer_block(
    x: Array,
    weights: dict[str, Array],
    *,
    num_heads: int,
    activation: str,
    eps: float,
    scale: float,
) -> Array:
    """AdaptFormer, arXiv:2205.13535: ``x + MLP(LN x) + s W_up ReLU(W_down LN x)``."""
    own = sub_weights(weights, "beside_mlp.")
    h = per_token(x, lambda token: layer_norm_of(token, weights, "norm1", eps))
    x = x + within_frames(h, lambda tokens: attention_branch(tokens, weights, num_heads))
    h = per_token(x, lambda token: layer_norm_of(token, weights, "norm2", eps))
    x = x + per_token(h, lambda token: mlp_branch(token, weights, activation))
    return x + scale * per_token(h, lambda token: plain_adapter(token, own, "relu"))
