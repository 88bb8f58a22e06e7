"""AM flow with the maps of all frames and heads written out: what the fast paths must equal.

Used by tests and as the slow side of benchmarks.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from amflow_mm.models.layers.attention_flow import (
    Normalize,
    check_inputs,
    map_difference,
    normalize_difference,
    repeat_last,
)
from amflow_mm.models.layers.correspondence import Correspondence, dense, warp_map
from amflow_mm.models.layers.flow_maps import AverageHeads, Source
from amflow_mm.models.layers.precision import full_precision


def written_out_flow(
    q: Float[Tensor, "B T H N D"],
    k: Float[Tensor, "B T H N D"],
    *,
    num_prefix_tokens: int = 1,
    temperature: float | Literal["auto"] = "auto",
    source: Source = "post",
    normalize: Normalize = "softmax",
    correspondence: Correspondence | None = None,
    average_heads: AverageHeads = "before",
) -> Float[Tensor, "B T P"]:
    """Compute :func:`.attention_flow.per_head_flow` line by line as it is written on paper.

    Raises:
        ValueError: Shapes that do not fit.
    """
    check_inputs(q, k, num_prefix_tokens, correspondence)
    dtype = torch.promote_types(q.dtype, torch.float32)
    with full_precision(q.device):
        with torch.no_grad():
            maps = q.to(dtype) @ k.to(dtype).transpose(-1, -2) / q.shape[-1] ** 0.5
            if source == "post":
                maps = maps.softmax(dim=-1)
            maps = maps[..., num_prefix_tokens:, num_prefix_tokens:]  # B T H P P
            if average_heads == "before":
                maps = maps.mean(dim=2, keepdim=True)
        here, there = maps[:, :-1], maps[:, 1:]
        if correspondence is not None:
            there = warp_map(there, dense(correspondence)[:, :, None].to(dtype))
        difference = map_difference(here, there).mean(dim=2)
        return repeat_last(normalize_difference(difference, temperature, normalize))
