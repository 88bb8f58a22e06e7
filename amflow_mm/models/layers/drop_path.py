"""Stochastic depth (Huang et al., arXiv:1603.09382)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class DropPath(nn.Module):
    """Drop a residual branch for whole clips, so that all frames of a clip agree.

    Args:
        drop_prob: Probability of dropping, a fraction in [0, 1).
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        if not 0 <= drop_prob < 1:
            raise ValueError(f"drop_prob={drop_prob} must lie in [0, 1)")
        self.drop_prob = drop_prob

    def forward(self, x: Float[Tensor, " B *axes"]) -> Float[Tensor, " B *axes"]:
        """Drop clips at random in training; scale the others so that the mean is kept."""
        if not self.training or self.drop_prob == 0:
            return x
        keep_prob = 1 - self.drop_prob
        mask = torch.rand(x.shape[0], device=x.device) < keep_prob
        return x * (mask / keep_prob).to(x.dtype).view(-1, *[1] * (x.ndim - 1))
