"""LayerScale (Touvron et al., arXiv:2103.17239)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LayerScale(nn.Module):
    """Multiply each channel of a residual branch by a learned factor."""

    def __init__(self, embed_dim: int, init_value: float = 1.0) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((embed_dim,), init_value))

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
        """Scale the channels."""
        return x * self.gamma
