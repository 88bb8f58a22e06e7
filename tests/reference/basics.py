"""The few scalar and vector operations that every oracle is made of."""

import math
from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def to_numpy(value: object) -> Array:
    """Return a float64 copy of a tensor or an array."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()  # type: ignore[attr-defined]
    return np.array(value, dtype=np.float64)


def weights_of(module: object, prefix: str = "") -> dict[str, Array]:
    """Return a module's ``state_dict`` as float64 arrays, keys cut after ``prefix``."""
    return {
        key[len(prefix) :]: to_numpy(value)
        for key, value in module.state_dict().items()  # type: ignore[attr-defined]
        if key.startswith(prefix)
    }


def sub_weights(weights: dict[str, Array], prefix: str) -> dict[str, Array]:
    """Return the entries under ``prefix``, with the prefix removed."""
    return {key[len(prefix) :]: value for key, value in weights.items() if key.startswith(prefix)}


def softmax(values: Sequence[float]) -> list[float]:
    """Softmax of one row of numbers."""
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    total = sum(powers)
    return [power / total for power in powers]


def sigmoid(value: float) -> float:
    """Logistic function."""
    return 1.0 / (1.0 + math.exp(-value))


def gelu(value: float) -> float:
    """The exact Gaussian error linear unit."""
    return 0.5 * value * (1.0 + math.erf(value / math.sqrt(2.0)))


def quick_gelu(value: float) -> float:
    """OpenAI CLIP's approximation: x times the logistic function of 1.702 x."""
    return value * sigmoid(1.702 * value)


def silu(value: float) -> float:
    """x times its own logistic function."""
    return value * sigmoid(value)


def relu(value: float) -> float:
    """The positive part."""
    return max(value, 0.0)


ACTIVATIONS = {"gelu": gelu, "quick_gelu": quick_gelu, "silu": silu, "relu": relu}


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    """Sum of products."""
    assert len(a) == len(b)
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def linear(vector: Sequence[float], weight: Array, bias: Array | None = None) -> Array:
    """One vector through an ``[out, in]`` matrix."""
    out = [dot(vector, weight[row]) for row in range(weight.shape[0])]
    if bias is not None:
        out = [value + float(bias[row]) for row, value in enumerate(out)]
    return np.array(out)


def linear_of(vector: Sequence[float], weights: dict[str, Array], name: str) -> Array:
    """One vector through the linear layer called ``name``; its bias is optional."""
    return linear(vector, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def layer_norm(vector: Sequence[float], weight: Array, bias: Array, eps: float) -> Array:
    """One vector, centred and divided by its (biased) standard deviation."""
    mean = sum(float(value) for value in vector) / len(vector)
    variance = sum((float(value) - mean) ** 2 for value in vector) / len(vector)
    return np.array(
        [
            (float(value) - mean) / math.sqrt(variance + eps) * float(weight[i]) + float(bias[i])
            for i, value in enumerate(vector)
        ]
    )


def layer_norm_of(
    vector: Sequence[float], weights: dict[str, Array], name: str, eps: float
) -> Array:
    """One vector through the layer norm called ``name``."""
    return layer_norm(vector, weights[f"{name}.weight"], weights[f"{name}.bias"], eps)


def elementwise(vector: Sequence[float], function: str) -> Array:
    """Apply one of ``ACTIVATIONS`` to every number."""
    return np.array([ACTIVATIONS[function](float(value)) for value in vector])
