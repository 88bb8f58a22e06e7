"""An image vision transformer by loops, in the layouts of CLIP, DINOv2 and timm.

One image at a time. Weight names are neutral (``norm1.weight``, ``qkv.weight``, ``ls1``);
tests translate.
"""

import numpy as np

from tests.reference.basics import (
    Array,
    elementwise,
    layer_norm_of,
    linear,
    linear_of,
    silu,
    sub_weights,
)
from tests.reference.temporal_units import self_attention


def mlp(token: Array, weights: dict[str, Array], activation: str) -> Array:
    """``fc2(activation(fc1 x))``; or the gated form when the weights hold ``w12``."""
    if "w12.weight" not in weights:
        return linear_of(elementwise(linear_of(token, weights, "fc1"), activation), weights, "fc2")
    both = linear_of(token, weights, "w12")
    half = len(both) // 2
    gated = np.array([silu(float(both[i])) * both[half + i] for i in range(half)])
    return linear_of(gated, weights, "w3")


def scaled(token: Array, weights: dict[str, Array], name: str) -> Array:
    """Multiply by LayerScale's vector where the layout has one."""
    return token * weights[name] if name in weights else token


def block(
    tokens: Array, weights: dict[str, Array], *, num_heads: int, activation: str, eps: float
) -> Array:
    """One pre-norm block: ``x + ls1 attention(LN1 x)``, then ``x + ls2 mlp(LN2 x)``."""
    normed = np.array([layer_norm_of(token, weights, "norm1", eps) for token in tokens])
    attended = self_attention(normed, weights, num_heads)
    tokens = np.array(
        [token + scaled(a, weights, "ls1") for token, a in zip(tokens, attended, strict=True)]
    )
    out = []
    for token in tokens:
        hidden = mlp(layer_norm_of(token, weights, "norm2", eps), weights, activation)
        out.append(token + scaled(hidden, weights, "ls2"))
    return np.array(out)


def patch_embed(image: Array, weight: Array, bias: Array | None) -> Array:
    """``[3, height, width]`` to ``[P, C]``: a strided convolution, patch by patch."""
    _, _, size_y, size_x = weight.shape
    rows, columns = image.shape[1] // size_y, image.shape[2] // size_x
    flat = weight.reshape(weight.shape[0], -1)
    tokens = []
    for row in range(rows):
        for column in range(columns):
            patch = image[
                :,
                row * size_y : (row + 1) * size_y,
                column * size_x : (column + 1) * size_x,
            ]
            tokens.append(linear(patch.reshape(-1), flat, bias))
    return np.array(tokens)


def embed(image: Array, weights: dict[str, Array]) -> Array:
    """Tokens before the first block: CLS, then registers, then patches.

    Positions are added to CLS and patches; registers come in afterwards, without any.
    CLIP's norm of the embeddings (``norm_pre``) is applied when its weights are there.
    """
    patches = patch_embed(image, weights["patch.weight"], weights.get("patch.bias"))
    tokens = [weights["cls"].reshape(-1), *patches]
    positions = weights["position"].reshape(len(tokens), -1)
    tokens = [token + position for token, position in zip(tokens, positions, strict=True)]
    if "registers" in weights:
        width = len(tokens[0])
        tokens = [tokens[0], *weights["registers"].reshape(-1, width), *tokens[1:]]
    return np.array(tokens)


def vit(
    image: Array,
    weights: dict[str, Array],
    *,
    depth: int,
    num_heads: int,
    activation: str,
    eps: float,
) -> Array:
    """All tokens after the final norm, ``[N, C]``."""
    tokens = embed(image, weights)
    if "norm_pre.weight" in weights:
        tokens = np.array([layer_norm_of(token, weights, "norm_pre", eps) for token in tokens])
    for layer in range(depth):
        tokens = block(
            tokens,
            sub_weights(weights, f"blocks.{layer}."),
            num_heads=num_heads,
            activation=activation,
            eps=eps,
        )
    return np.array([layer_norm_of(token, weights, "norm", eps) for token in tokens])
