"""Which code computes AM flow: tiles in torch, or a Triton kernel on a CUDA device.

``"auto"`` takes the kernel where it can serve the call and torch otherwise; ``"torch"`` and
``"triton"`` insist. The results are equal to rounding.
"""

from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor

from amflow_mm.models.layers.correspondence import Correspondence
from amflow_mm.models.layers.flow_maps import AverageHeads

Backend = Literal["auto", "torch", "triton"]

MAX_TOKENS = 512  # the kernel holds whole rows of a map in registers
HEAD_DIMS = (16, 32, 64, 128)
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def runs_on_triton(
    backend: Backend,
    q: Tensor,
    k: Tensor,
    *,
    correspondence: Correspondence | None,
    average_heads: AverageHeads,
) -> bool:
    """Tell whether the Triton kernel is to compute this call.

    Raises:
        ValueError: An unknown backend, or ``"triton"`` where it cannot serve.
    """
    if backend == "torch":
        return False
    if backend not in ("auto", "triton"):
        raise ValueError(f"backend={backend!r} must be one of 'auto', 'torch', 'triton'")
    obstacle = _device_obstacle(q) or _call_obstacle(q, k, correspondence, average_heads)
    if backend == "triton" and obstacle is not None:
        raise ValueError(
            f"backend='triton' cannot compute this call: {obstacle}; choose 'auto' or 'torch'"
        )
    return obstacle is None


def _device_obstacle(q: Tensor) -> str | None:
    if q.device.type != "cuda":
        return f"q is on {q.device.type!r}, not on a CUDA device"
    if find_spec("triton") is None:
        return "the package triton is not installed"
    if torch.version.hip is not None or torch.cuda.get_device_capability(q.device) < (8, 0):
        return "it needs an NVIDIA GPU of compute capability 8.0 or later"
    return None


def _call_obstacle(
    q: Tensor, k: Tensor, correspondence: Correspondence | None, average_heads: AverageHeads
) -> str | None:
    if correspondence is not None:
        return "correspondence is given"
    if average_heads != "before":
        return f"average_heads={average_heads!r} is not 'before'"
    if q.dtype not in DTYPES or q.dtype != k.dtype:
        return f"q is {q.dtype} and k {k.dtype}, not both one of {DTYPES}"
    if q.shape[3] > MAX_TOKENS or q.shape[4] not in HEAD_DIMS:
        return (
            f"q has {q.shape[3]} tokens of width {q.shape[4]}, not at most {MAX_TOKENS} of one of "
            f"{HEAD_DIMS}"
        )
    if q.stride(-1) != 1 or k.stride(-1) != 1:
        return "the last axis of q or k is not contiguous"
    return None
