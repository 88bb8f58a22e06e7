"""Weights and inputs without a random generator, so that goldens survive torch upgrades.

Every number is an integer hash of (name, position), computed in 64-bit integers and cut to
24 bits: exact on every platform, in every version, and of full rank when read as a matrix.
The idea of generator-free test weights is torchtune's fixed-init utility.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

_MASK = 0xFFFFFFFF
_RESOLUTION = 2**23


def fixed_tensor(
    shape: Sequence[int],
    *,
    tag: str = "input",
    scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return a tensor determined by ``shape`` and ``tag``: mean ~0, standard deviation ~scale.

    Args:
        shape: Sizes of the axes.
        tag: Name of the tensor; different tags give unrelated values.
        scale: Standard deviation of the (uniformly distributed) values.
        dtype: Floating-point type of the result.
    """
    values = _uniform(int(np.prod(shape)), tag) * (3.0**0.5 * scale)
    return torch.from_numpy(values).reshape(tuple(shape)).to(dtype)


def fixed_init_(module: nn.Module, *, scale: float = 1.5) -> nn.Module:
    """Fill every parameter and every saved floating-point buffer, in place; return ``module``.

    Magnitudes are chosen so that nothing is zero, one or flat: matrices have variance
    ``scale**2 / fan_in`` (attention logits then spread by about ``scale**2``), norm and
    LayerScale vectors lie in 0.8 ... 1.2, biases in -0.2 ... 0.2, embeddings in -0.5 ... 0.5.
    Buffers that are not saved (coordinate grids and the like) keep the values that their
    constructor computed.

    Args:
        module: Any module.
        scale: Gain of the matrices; 1 keeps the variance of their inputs.
    """
    for name, value in module.state_dict(keep_vars=True).items():
        if value.is_floating_point():
            filled = _values_for(name, value.shape, scale)
            with torch.no_grad():
                value.copy_(filled)
    return module


def _values_for(name: str, shape: Sequence[int], scale: float) -> Tensor:
    """Choose magnitude and offset by the role that name and rank give away."""
    unit = torch.from_numpy(_uniform(int(np.prod(shape)), name)).reshape(tuple(shape))
    leaf = name.rsplit(".", 1)[-1]
    is_vector = len(shape) <= 1
    if leaf == "running_var" or (is_vector and leaf in ("weight", "gamma")):
        return 1.0 + 0.2 * unit
    if is_vector:
        return 0.2 * unit
    if "weight" in leaf:
        fan_in = int(np.prod(shape[1:]))
        return unit * (scale * (3.0 / fan_in) ** 0.5)
    return 0.5 * unit


def _uniform(count: int, tag: str) -> np.ndarray:
    """Return ``count`` numbers in [-1, 1), exactly representable in float32."""
    seed = zlib.crc32(tag.encode())
    position = np.arange(count, dtype=np.uint64)
    # The finaliser of MurmurHash3, in 32 bits: each input bit changes half of the output bits.
    mixed = (position * 0x9E3779B1 + seed) & _MASK
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = ((mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)) & np.uint64(_MASK)
    mixed ^= mixed >> np.uint64(16)
    return (mixed >> np.uint64(8)).astype(np.float64) / _RESOLUTION - 1.0
