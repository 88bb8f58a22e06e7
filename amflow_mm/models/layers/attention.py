"""Multi-head self-attention, the only one of the image transformer."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Attention(nn.Module):
    """Self-attention on the fused kernel that also *returns* its queries and keys.

    AM flow is recomputed from q and k afterwards; the main path never forms a map.

    Args:
        embed_dim: Width C.
        num_heads: Heads H; must divide C.
        qkv_bias: Whether the joint projection to q, k, v has a bias.
    """

    def __init__(self, embed_dim: int, num_heads: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise ValueError(f"num_heads={num_heads} must divide embed_dim={embed_dim}")
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim, bias=qkv_bias)
        self.proj = nn.Linear(embed_dim, embed_dim)

    def forward(
        self, x: Float[Tensor, "F N C"]
    ) -> tuple[Float[Tensor, "F N C"], Float[Tensor, "F H N D"], Float[Tensor, "F H N D"]]:
        """Return the output and the unscaled q and k; F counts independent sequences.

        F folds clips and frames: with more than four axes the fused kernel refuses, and torch
        falls back to the slow path without a word.
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # F N 3 H D
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).flatten(2)), q, k
