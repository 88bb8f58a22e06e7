"""Temporal units: residual mixers over the frames inside an adapter's bottleneck.

Every unit has one signature, ``unit(g, state) -> (mixed, state)`` with g of shape (B, T, R), and
one more for tokens, ``unit.mix_tokens(h, grid)`` with h of shape (B, T, P, R). None of the three
here carries a state from clip to clip; the slot is part of the signature because recurrent
memory does.
"""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from amflow_mm.models.layers.attention import Attention
from amflow_mm.models.layers.correspondence import Grid
from amflow_mm.models.layers.mlp import Mlp


class TemporalUnit(nn.Module):
    """Base of the units: folds patches into the batch to mix tokens."""

    def forward(
        self, g: Float[Tensor, "B T R"], state: Tensor | None = None
    ) -> tuple[Float[Tensor, "B T R"], Tensor | None]:
        """Mix over the frames; the input is added again inside."""
        raise NotImplementedError

    def mix_tokens(self, h: Float[Tensor, "B T P R"], grid: Grid) -> Float[Tensor, "B T P R"]:
        """Mix over the frames at every patch position."""
        num_patches = h.shape[2]
        if num_patches != grid[0] * grid[1]:
            raise ValueError(f"grid={grid} does not hold the {num_patches} patches given")
        mixed, _ = self(h.transpose(1, 2).flatten(0, 1))
        return mixed.unflatten(0, (-1, num_patches)).transpose(1, 2)


class TransformerUnit(TemporalUnit):
    """Pre-norm transformer layers over the frames.

    Args:
        dim: Bottleneck width R.
        num_layers: Layers.
        num_heads: Attention heads; ``None`` gives heads of width 64, at least one.
        mlp_ratio: Hidden width of the feed-forward layer over R.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_layers: int = 1,
        num_heads: int | None = None,
        mlp_ratio: float = 4.0,
    ) -> None:
        super().__init__()
        heads = num_heads or max(1, dim // 64)
        self.layers = nn.ModuleList(
            EncoderLayer(dim, heads, int(dim * mlp_ratio)) for _ in range(num_layers)
        )

    def forward(
        self, g: Float[Tensor, "B T R"], state: Tensor | None = None
    ) -> tuple[Float[Tensor, "B T R"], Tensor | None]:
        """Let every frame attend to every frame."""
        for layer in self.layers:
            g = layer(g)
        return g, state


class EncoderLayer(nn.Module):
    """One pre-norm transformer encoder layer on a plain sequence."""

    def __init__(self, dim: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, mlp_dim)

    def forward(self, x: Float[Tensor, "F N C"]) -> Float[Tensor, "F N C"]:
        """Mix the sequence, then the channels."""
        x = x + self.attn(self.norm1(x))[0]
        return x + self.mlp(self.norm2(x))


class TCNUnit(TemporalUnit):
    """Temporal convolutions: ``g + W_p GELU(time_d(space(LN g)))`` for each dilation d.

    ``space`` is depthwise and there for ``spatial_size > 1`` only.

    Args:
        dim: Bottleneck width R.
        kernel_size: Frames that a convolution sees, odd.
        dilations: One layer for each, in frames.
        spatial_size: Patches per side that a layer sees when tokens are mixed, odd; 1 mixes over
            time alone, 3 gives 3x3 neighbourhoods, so that a unit can follow an object from
            patch to patch.
        is_depthwise: Mix frames channel by channel. A full convolution costs 3 R^2 more weights
            and can relate *different* channels of neighbouring frames in one layer, which is
            what tells a clockwise from a counter-clockwise path.
    """

    def __init__(
        self,
        dim: int,
        *,
        kernel_size: int = 3,
        dilations: tuple[int, ...] = (1,),
        spatial_size: Literal[1, 3, 5] = 1,
        is_depthwise: bool = True,
    ) -> None:
        super().__init__()
        if kernel_size % 2 == 0 or spatial_size % 2 == 0:
            raise ValueError(
                f"kernel_size={kernel_size} and spatial_size={spatial_size} must be odd, "
                "so that the output lines up with the frames"
            )
        self.spatial_size = spatial_size
        self.layers = nn.ModuleList(
            _TCNLayer(dim, kernel_size, dilation, spatial_size, is_depthwise)
            for dilation in dilations
        )

    def forward(
        self, g: Float[Tensor, "B T R"], state: Tensor | None = None
    ) -> tuple[Float[Tensor, "B T R"], Tensor | None]:
        """Mix neighbouring frames."""
        if self.spatial_size != 1:
            raise ValueError(
                f"spatial_size={self.spatial_size} mixes over patches: use pooling='token', "
                "or spatial_size=1"
            )
        return self._mix(g.unsqueeze(2).unsqueeze(2)).flatten(1, 3), state

    def mix_tokens(self, h: Float[Tensor, "B T P R"], grid: Grid) -> Float[Tensor, "B T P R"]:
        """Mix neighbouring frames and, with ``spatial_size``, neighbouring patches."""
        if h.shape[2] != grid[0] * grid[1]:
            raise ValueError(f"grid={grid} does not hold the {h.shape[2]} patches given")
        return self._mix(h.unflatten(2, grid)).flatten(2, 3)

    def _mix(self, h: Float[Tensor, "B T rows columns R"]) -> Float[Tensor, "B T rows columns R"]:
        for layer in self.layers:
            h = layer(h)
        return h


class _TCNLayer(nn.Module):
    def __init__(
        self, dim: int, kernel_size: int, dilation: int, spatial_size: int, is_depthwise: bool
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        # One kernel over space and time would cost six times as much on a CPU.
        self.space = (
            nn.Conv2d(dim, dim, spatial_size, padding=spatial_size // 2, groups=dim)
            if spatial_size > 1
            else nn.Identity()
        )
        self.time = nn.Conv1d(
            dim,
            dim,
            kernel_size,
            padding=dilation * (kernel_size // 2),
            dilation=dilation,
            groups=dim if is_depthwise else 1,
        )
        self.act = nn.GELU()
        self.pointwise = nn.Linear(dim, dim)

    def forward(
        self, h: Float[Tensor, "B T rows columns R"]
    ) -> Float[Tensor, "B T rows columns R"]:
        batch, num_frames, rows, columns, dim = h.shape
        mixed = self.norm(h).movedim(-1, 2).flatten(0, 1)  # (B T) R rows columns
        mixed = self.space(mixed).view(batch, num_frames, dim, rows * columns)
        # As a two-dimensional convolution over (T, patches): patches stay where they are.
        mixed = F.conv2d(
            mixed.transpose(1, 2),
            self.time.weight.unsqueeze(-1),
            self.time.bias,
            padding=(*self.time.padding, 0),
            dilation=(*self.time.dilation, 1),
            groups=self.time.groups,
        )
        mixed = mixed.permute(0, 2, 3, 1).unflatten(2, (rows, columns))
        return h + self.pointwise(self.act(mixed))


class LSTMUnit(TemporalUnit):
    """A forward LSTM, ``g + LSTM(LN g)``.

    Args:
        dim: Bottleneck width R.
        num_layers: Stacked LSTM layers.
    """

    def __init__(self, dim: int, *, num_layers: int = 1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.lstm = nn.LSTM(dim, dim, num_layers, batch_first=True)

    def forward(
        self, g: Float[Tensor, "B T R"], state: Tensor | None = None
    ) -> tuple[Float[Tensor, "B T R"], Tensor | None]:
        """Read the frames in order."""
        mixed, _ = self.lstm(self.norm(g))
        return g + mixed, state
