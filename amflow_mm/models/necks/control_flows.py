"""Controls for AM flow, with its interface: what else could tell that a patch moves?"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from amflow_mm.models.layers import Grid, full_precision, repeat_last
from amflow_mm.models.layers.correspondence import carry
from amflow_mm.models.necks.flow_neck import FlowNeck, mean_one
from amflow_mm.registry import MODELS


@MODELS.register_module()
class FeatureFlow(FlowNeck):
    """Change of the token, ``|x_t - x_{t+1}|`` over its mean: needs no attention map.

    Args:
        aligner: Config of the aligning encoder (moving camera); ``None``: static camera.
        aligner_layers: Blocks with an aligner of their own; ``None`` shares one among all.
    """

    def __init__(
        self,
        *,
        aligner: dict[str, Any] | None = None,
        aligner_layers: Sequence[int] | None = None,
    ) -> None:
        super().__init__(aligner, aligner_layers)

    def measure(
        self,
        q: Float[Tensor, "B T H N D"],
        k: Float[Tensor, "B T H N D"],
        x: Float[Tensor, "B T N C"],
        layer: int,
        grid: Grid,
    ) -> None:
        """Measure nothing: the tokens suffice."""
        del q, k, x, layer, grid

    def finish(
        self,
        measured: Float[Tensor, "B T P"] | None,
        patches: Float[Tensor, "B T P C"],
        layer: int,
        grid: Grid,
    ) -> Float[Tensor, "B T P"]:
        """Compare the tokens of consecutive frames.

        Raises:
            ValueError: T < 2.
        """
        del measured
        if patches.shape[1] < 2:
            raise ValueError(
                f"num_frames={patches.shape[1]} must be >= 2: FeatureFlow compares consecutive "
                "frames; raise clip_len"
            )
        x = patches.detach().float()
        following = x[:, 1:]
        correspondence = self.align(x, layer, grid)
        with full_precision(x.device):
            if correspondence is not None:
                following = carry(correspondence, following)
            return repeat_last(mean_one((x[:, :-1] - following).norm(dim=-1)))

    def measurement(self) -> str | None:
        """Measure nothing."""
        return None


@MODELS.register_module()
class UniformFlow(FlowNeck):
    """``w = 1`` everywhere: the same model without motion."""

    def __init__(self) -> None:
        super().__init__()

    def measure(
        self,
        q: Float[Tensor, "B T H N D"],
        k: Float[Tensor, "B T H N D"],
        x: Float[Tensor, "B T N C"],
        layer: int,
        grid: Grid,
    ) -> None:
        """Measure nothing."""
        del q, k, x, layer, grid

    def finish(
        self,
        measured: Float[Tensor, "B T P"] | None,
        patches: Float[Tensor, "B T P C"],
        layer: int,
        grid: Grid,
    ) -> Float[Tensor, "B T P"]:
        """Return ones."""
        del measured, layer, grid
        return torch.ones(patches.shape[:3], device=patches.device)

    def measurement(self) -> str | None:
        """Measure nothing."""
        return None


@MODELS.register_module()
class ShuffledFlow(FlowNeck):
    """Another flow with its patches permuted at random in each frame: same values, no place.

    The permutation is drawn anew on each call from torch's global generator.

    Args:
        flow: Config of the flow to shuffle.
    """

    def __init__(self, flow: dict[str, Any]) -> None:
        super().__init__()
        self.flow = MODELS.build(flow)

    def measure(
        self,
        q: Float[Tensor, "B T H N D"],
        k: Float[Tensor, "B T H N D"],
        x: Float[Tensor, "B T N C"],
        layer: int,
        grid: Grid,
    ) -> Float[Tensor, "B T P"] | None:
        """Measure the other flow."""
        return self.flow.measure(q, k, x, layer, grid)

    def finish(
        self,
        measured: Float[Tensor, "B T P"] | None,
        patches: Float[Tensor, "B T P C"],
        layer: int,
        grid: Grid,
    ) -> Float[Tensor, "B T P"]:
        """Permute the patches."""
        w = self.flow.finish(measured, patches, layer, grid)
        return w.gather(-1, torch.rand_like(w).argsort(dim=-1))

    def measurement(self) -> str | None:
        """Depend on the other flow alone."""
        return self.flow.measurement()
