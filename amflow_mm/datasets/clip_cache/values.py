"""Values of a pipeline's results as JSON and back: a cache that others can write holds no code."""

from typing import Any

import numpy as np

_SCALARS = (type(None), bool, int, float, str)
_NUMBERS = "biuf"


def pack_value(value: Any, where: str) -> Any:
    """Return a value as plain data from which ``unpack_value`` makes an equal one of equal type.

    Args:
        value: Number, text, None, or arrays, lists, tuples and dictionaries of them.
        where: What the value is, for the error.

    Raises:
        ValueError: It is something else.
    """
    # Subclasses, such as numpy's float64 of Python's float, would come back as another type.
    if type(value) in _SCALARS:
        return value
    if type(value) is list:
        return [pack_value(item, where) for item in value]
    if type(value) is tuple:
        return {"tuple": [pack_value(item, where) for item in value]}
    if isinstance(value, dict):
        items = value.items()
        return {"dict": [[pack_value(k, where), pack_value(v, where)] for k, v in items]}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in _NUMBERS:
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: [value.dtype.str, list(value.shape), value.ravel().tolist()]}
    raise ValueError(
        f"{where} is a {type(value).__name__}, which a clip cache cannot keep or compare; it takes "
        "numbers, text, and arrays, lists, tuples and dicts of them. A step that leaves anything "
        "else in the results belongs behind CachedClip"
    )


def unpack_value(value: Any) -> Any:
    """Return the value that ``pack_value`` was given."""
    if type(value) is list:
        return [unpack_value(item) for item in value]
    if type(value) is not dict:
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(unpack_value(item) for item in content)
    if kind == "dict":
        return {unpack_value(key): unpack_value(item) for key, item in content}
    if kind == "bytes":
        return bytes.fromhex(content)
    dtype, shape, numbers = content
    array = np.array(numbers, dtype=dtype).reshape(shape)
    return array if kind == "array" else array[()]
