"""Base of the necks that tell which patches move.

A neck works in two steps, so that the dear one can be kept on disk:

    measured = neck.measure(q, k, x, layer, grid)      needs the frozen attention; None if not
    w = neck.finish(measured, patches, layer, grid)    needs the frozen patch tokens at most

Called directly it does both; that is what a backbone sees in each block.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from mmengine.model import BaseModule
from torch import Tensor, nn

from amflow_mm.models.layers import Grid
from amflow_mm.models.layers.correspondence import Correspondence
from amflow_mm.registry import MODELS


class FlowNeck(BaseModule):
    """A module from queries, keys and tokens to weights of the patches, mean 1.

    Args:
        aligner: Config of the module that registers frame pairs; ``None``: static camera.
        aligner_layers: Blocks that get an aligner of their own; ``None`` shares one among all.
    """

    def __init__(
        self,
        aligner: dict[str, Any] | None = None,
        aligner_layers: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.aligner: nn.Module | None = None
        if aligner is None:
            return
        if aligner_layers is None:
            self.aligner = MODELS.build(aligner)
        else:
            self.aligner = nn.ModuleDict(
                {str(layer): MODELS.build(aligner) for layer in aligner_layers}
            )

    def forward(
        self,
        q: Float[Tensor, "B T H N D"],
        k: Float[Tensor, "B T H N D"],
        x: Float[Tensor, "B T N C"],
        layer: int,
        grid: Grid,
    ) -> Float[Tensor, "B T P"]:
        """Return the weights of the patches in block ``layer``."""
        patches = x[:, :, x.shape[2] - grid[0] * grid[1] :]
        return self.finish(self.measure(q, k, x, layer, grid), patches, layer, grid)

    def measure(
        self,
        q: Float[Tensor, "B T H N D"],
        k: Float[Tensor, "B T H N D"],
        x: Float[Tensor, "B T N C"],
        layer: int,
        grid: Grid,
    ) -> Float[Tensor, "B T P"] | None:
        """Return what only the attention can tell; ``None`` where the tokens suffice."""
        raise NotImplementedError

    def finish(
        self,
        measured: Float[Tensor, "B T P"] | None,
        patches: Float[Tensor, "B T P C"],
        layer: int,
        grid: Grid,
    ) -> Float[Tensor, "B T P"]:
        """Return the weights, from what was measured and the patch tokens."""
        raise NotImplementedError

    def measurement(self) -> str | None:
        """Describe what :meth:`measure` depends on; ``None`` if it measures nothing.

        Equal descriptions mean equal measurements on equal frozen weights.
        """
        raise NotImplementedError

    def align(
        self, patches: Float[Tensor, "B T P C"], layer: int, grid: Grid
    ) -> Correspondence | None:
        """Return the correspondence of consecutive frames; ``None`` for a static camera.

        The tokens are detached: alignment observes the transformer, it does not steer it.

        Raises:
            ValueError: Aligners are per block and this block has none.
        """
        if self.aligner is None:
            return None
        aligner = self.aligner
        if isinstance(aligner, nn.ModuleDict):
            if str(layer) not in aligner:
                raise ValueError(
                    f"aligner_layers={[int(name) for name in aligner]} lacks block {layer}, "
                    "whose flow was asked for"
                )
            aligner = aligner[str(layer)]
        return aligner(patches.detach(), grid)


def mean_one(amount: Float[Tensor, "*batch P"]) -> Float[Tensor, "*batch P"]:
    """Scale to mean 1 over the patches; all ones where nothing moves."""
    mean = amount.mean(dim=-1, keepdim=True)
    still = mean == 0
    return torch.where(still, torch.ones_like(amount), amount / mean.masked_fill(still, 1.0))
