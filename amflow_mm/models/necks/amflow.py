"""AMFlow: the AM flow computing module with its alignment encoder, as a config part.

Shell over :func:`amflow_mm.models.layers.attention_map_flow`; arXiv:2411.02065.
"""

from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from amflow_mm.models.layers import Grid, per_head_flow
from amflow_mm.models.layers.attention_flow import Normalize
from amflow_mm.models.layers.flow_backend import Backend
from amflow_mm.models.layers.flow_maps import AverageHeads, Source
from amflow_mm.models.necks.flow_neck import FlowNeck
from amflow_mm.registry import MODELS


@MODELS.register_module()
class AMFlow(FlowNeck):
    """Change of the attention maps between consecutive frames, per patch.

    Args:
        temperature: See ``attention_map_flow``.
        source: See ``attention_map_flow``.
        normalize: See ``attention_map_flow``; ``"column"`` keeps the ranking of the literal
            formula and gives it a usable range.
        average_heads: Average the heads' maps ``"before"`` the difference, or the differences
            ``"after"`` it.
        backend: What computes: ``"auto"`` takes the Triton kernel where it can serve and torch
            elsewhere, ``"torch"`` and ``"triton"`` insist. Equal to rounding.
        aligner: Config of the aligning encoder (moving camera); ``None``: static camera.
        aligner_layers: Blocks with an aligner of their own; ``None`` shares one among all.
    """

    def __init__(
        self,
        *,
        temperature: float | Literal["auto"] = "auto",
        source: Source = "post",
        normalize: Normalize = "column",
        average_heads: AverageHeads = "before",
        backend: Backend = "auto",
        aligner: dict[str, Any] | None = None,
        aligner_layers: Sequence[int] | None = None,
    ) -> None:
        super().__init__(aligner, aligner_layers)
        self.backend = backend
        self.options = {
            "temperature": temperature,
            "source": source,
            "normalize": normalize,
            "average_heads": average_heads,
        }

    def measure(
        self,
        q: Float[Tensor, "B T H N D"],
        k: Float[Tensor, "B T H N D"],
        x: Float[Tensor, "B T N C"],
        layer: int,
        grid: Grid,
    ) -> Float[Tensor, "B T P"]:
        """Compute the AM flow."""
        num_prefix = x.shape[2] - grid[0] * grid[1]
        return per_head_flow(
            q,
            k,
            num_prefix_tokens=num_prefix,
            correspondence=self.align(x[:, :, num_prefix:], layer, grid),
            backend=self.backend,
            **self.options,
        )

    def finish(
        self,
        measured: Float[Tensor, "B T P"] | None,
        patches: Float[Tensor, "B T P C"],
        layer: int,
        grid: Grid,
    ) -> Float[Tensor, "B T P"]:
        """Return what was measured."""
        del patches, layer, grid
        if measured is None:
            raise ValueError("measured=None: AMFlow is measured from attention maps")
        return measured

    def measurement(self) -> str | None:
        """Describe the options and the aligner."""
        return f"AMFlow({self.options}, {self.aligner!r})"
