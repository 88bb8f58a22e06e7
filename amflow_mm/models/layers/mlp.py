"""Feed-forward layers of the image transformers."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Activation = Literal["gelu", "quick_gelu"]


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the approximation that OpenAI's CLIP was trained with."""

    def forward(self, x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        """Apply the activation elementwise."""
        return x * torch.sigmoid(1.702 * x)


def build_activation(name: Activation) -> nn.Module:
    """Return the activation of that name.

    Raises:
        ValueError: The name is unknown.
    """
    if name == "gelu":
        return nn.GELU()
    if name == "quick_gelu":
        return QuickGELU()
    raise ValueError(f"activation={name!r} must be one of 'gelu', 'quick_gelu'")


class Mlp(nn.Module):
    """Linear, activation, linear."""

    def __init__(self, embed_dim: int, hidden_dim: int, *, activation: Activation = "gelu") -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dim, hidden_dim)
        self.act = build_activation(activation)
        self.fc2 = nn.Linear(hidden_dim, embed_dim)

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
        """Mix channels, token by token."""
        return self.fc2(self.act(self.fc1(x)))


class SwiGLU(nn.Module):
    """Gated feed-forward layer of DINOv2 ViT-g: ``w3(silu(a) * b)`` with ``a, b = w12(x)``."""

    def __init__(self, embed_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(embed_dim, 2 * hidden_dim)
        self.w3 = nn.Linear(hidden_dim, embed_dim)

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
        """Mix channels, token by token."""
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)
