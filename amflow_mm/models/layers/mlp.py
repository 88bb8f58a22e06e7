"""Feed-forward layers of the image transformers."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

Activation = Literal["gelu", "quick_gelu"]


class QuickGELU(nn.Module):
    """``x * sigmoid(1.702 x)``, the approximation that OpenAI's CLIP was trained with.

    For the backward pass it keeps its input alone, where autograd would keep the sigmoid too: in
    a frozen block, half of all that is kept.
    """

    def forward(self, x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        """Apply the activation elementwise."""
        if torch.compiler.is_compiling():  # which chooses itself what to keep
            return x * torch.sigmoid(1.702 * x)
        return _QuickGELU.apply(x)


class _QuickGELU(torch.autograd.Function):
    """The value to the bit; the gradient to rounding, in one pass over the hidden layer."""

    @staticmethod
    def forward(x: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        return x.mul(1.702).sigmoid_().mul_(x)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor], output: Tensor) -> None:
        del output
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
        # x sigmoid(a x) = silu(a x) / a, whose derivative is that of silu at a x.
        (x,) = ctx.saved_tensors
        scaled = x * 1.702
        return torch.ops.aten.silu_backward.grad_input(gradient, scaled, grad_input=scaled)


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
