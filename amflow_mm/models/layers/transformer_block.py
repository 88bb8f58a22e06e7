"""Pre-norm transformer block of the image model, with optional adapter slots, in this order.

    before_attention    x + f(x)                     before the first norm     (ST-Adapter)
    over_time           x + f(LN x, attend)          attend: the same attention over T (AIM)
    after_attention     x + a + f(a, w)              on the attention's output (AM Flow, AIM)
    before_mlp          x + f(x)                     before the second norm    (ST-Adapter)
    beside_mlp          x + MLP(LN x) + f(LN x)                                (AIM, AdaptFormer)

Peers are then configurations of one block. With all slots empty it is the image model's block,
to the bit.
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from amflow_mm.models.layers.attention import Attention
from amflow_mm.models.layers.correspondence import Grid
from amflow_mm.models.layers.drop_path import DropPath
from amflow_mm.models.layers.layer_scale import LayerScale
from amflow_mm.models.layers.mlp import Activation, Mlp, SwiGLU


@runtime_checkable
class FlowModule(Protocol):
    """What a block asks for motion: queries, keys and tokens in, weights of the patches out."""

    def __call__(
        self,
        q: Float[Tensor, "B T H N D"],
        k: Float[Tensor, "B T H N D"],
        x: Float[Tensor, "B T N C"],
        layer: int,
        grid: Grid,
    ) -> Float[Tensor, "B T P"]:
        """Return the weights of the patches in block ``layer``."""
        ...


class TransformerBlock(nn.Module):
    """One block of a vision transformer, applied to every frame on its own.

    Args:
        embed_dim: Width C.
        num_heads: Heads H.
        mlp_dim: Hidden width of the feed-forward layer.
        activation: Of the feed-forward layer.
        gated_mlp: Use :class:`SwiGLU` (DINOv2 ViT-g) in place of :class:`Mlp`.
        layer_scale: Scale both branches per channel (DINOv2).
        norm_eps: Epsilon of both norms.
        drop_prob: Stochastic depth, per clip.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_dim: int,
        *,
        activation: Activation = "gelu",
        gated_mlp: bool = False,
        layer_scale: bool = False,
        norm_eps: float = 1e-6,
        drop_prob: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.attn = Attention(embed_dim, num_heads)
        self.ls1 = LayerScale(embed_dim) if layer_scale else nn.Identity()
        self.norm2 = nn.LayerNorm(embed_dim, eps=norm_eps)
        self.mlp: nn.Module = (
            SwiGLU(embed_dim, mlp_dim)
            if gated_mlp
            else Mlp(embed_dim, mlp_dim, activation=activation)
        )
        self.ls2 = LayerScale(embed_dim) if layer_scale else nn.Identity()
        self.drop_path = DropPath(drop_prob)
        self.is_compiled = False
        self.before_attention: nn.Module | None = None
        self.over_time: nn.Module | None = None
        self.after_attention: nn.Module | None = None
        self.before_mlp: nn.Module | None = None
        self.beside_mlp: nn.Module | None = None

    def forward(
        self,
        x: Float[Tensor, "B T N C"],
        grid: Grid,
        flow: FlowModule | None = None,
        layer: int = 0,
        num_read: int | None = None,
    ) -> tuple[Float[Tensor, "B T M C"], Float[Tensor, "B T P"] | None]:
        """Return the tokens and, where ``flow`` was given, the flow of this block.

        Args:
            x: Tokens.
            grid: Rows and columns of the patches.
            flow: Asked between the attention and its adapter.
            layer: Index of this block, handed on to ``flow``.
            num_read: Of the tokens that leave the block, the first M; ``None`` is all. The
                others are spared the feed-forward layer, which mixes no tokens.
        """
        if self.before_attention is not None:
            x = x + self.before_attention(x, grid)
        if self.over_time is not None:
            x = x + self.over_time(self.norm1(x), self._attend_over_time)
        num_frames = x.shape[1]
        attended, q, k = self._run(_attend, x.flatten(0, 1))
        attended, q, k = (_unfold_frames(y, num_frames) for y in (attended, q, k))
        w = None if flow is None else flow(q, k, x, layer, grid)

        branch = attended
        if self.after_attention is not None:
            branch = branch + self.after_attention(attended, w, grid)
        x = x + self.drop_path(branch)

        if self.before_mlp is not None:
            x = x + self.before_mlp(x, grid)
        if num_read is not None:
            x = x[:, :, :num_read].contiguous()  # a view would keep all tokens in memory
        branch, normed = self._run(_feed_forward, x)
        if self.beside_mlp is not None:
            branch = branch + self.beside_mlp(normed)
        return x + self.drop_path(branch), w

    def _attend_over_time(self, x: Float[Tensor, "B T N C"]) -> Float[Tensor, "B T N C"]:
        """Let every token attend to itself in all frames, by the attention of this block."""
        num_tokens = x.shape[2]
        # A linear layer would take a transposed tensor, and a transposed gradient, in small pieces.
        attended, _, _ = self.attn(x.transpose(1, 2).flatten(0, 1).contiguous())
        if attended.requires_grad:
            attended.register_hook(torch.Tensor.contiguous)
        return self.ls1(attended).unflatten(0, (-1, num_tokens)).transpose(1, 2)

    def _run(self, part: Callable[..., Any], x: Float[Tensor, "*batch C"]) -> Any:
        """Run a frozen part of the block, compiled where ``is_compiled`` is set."""
        if not self.is_compiled:
            return part(self, x)
        torch._dynamo.maybe_mark_dynamic(x, 0)
        return _compiled(part)(self, x)


def _attend(
    block: TransformerBlock, x: Float[Tensor, "F N C"]
) -> tuple[Float[Tensor, "F N C"], Float[Tensor, "F H N D"], Float[Tensor, "F H N D"]]:
    attended, q, k = block.attn(block.norm1(x))
    return block.ls1(attended), q, k


def _feed_forward(
    block: TransformerBlock, x: Float[Tensor, "*batch C"]
) -> tuple[Float[Tensor, "*batch C"], Float[Tensor, "*batch C"]]:
    normed = block.norm2(x)
    return block.ls2(block.mlp(normed)), normed


@functools.cache
def _compiled(part: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a part once for all blocks of all models: their weights are its inputs.

    What it is compiled for anew are widths, the kind of gradient and a batch of one, not layers,
    batches and views. Weights and copies of a model know nothing of it.
    """
    return torch.compile(part)


def _unfold_frames(x: Float[Tensor, " F *axes"], num_frames: int) -> Float[Tensor, " B T *axes"]:
    return x.unflatten(0, (-1, num_frames))
