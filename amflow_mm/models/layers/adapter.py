"""Adapters: small trained bottlenecks beside frozen weights.

``TemporalAdapter`` is the method's own (arXiv:2411.02065): down, gain by the AM flow, temporal
unit, up. Axes: B clips, T frames, N tokens, P patches, C width, R bottleneck.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from amflow_mm.models.layers.correspondence import Grid
from amflow_mm.models.layers.drop_path import DropPath
from amflow_mm.models.layers.temporal_units import TemporalUnit

FlowAs = Literal["gain", "feature", "both"]
Pooling = Literal["global", "token"]
ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}


class Adapter(nn.Module):
    """Plain adapter: ``s * W_up GELU(W_down x)``, zero at the start.

    Args:
        embed_dim: Width C.
        bottleneck_dim: Width R.
        scale: Fixed factor s on the output.
        activation: ``"gelu"`` (AIM) or ``"relu"`` (AdaptFormer).
        dropout: Fraction of the bottleneck that is dropped in training.
        drop_prob: Stochastic depth of the adapter alone, per clip; the frozen branch stays.
    """

    def __init__(
        self,
        embed_dim: int,
        bottleneck_dim: int,
        *,
        scale: float = 1.0,
        activation: Literal["gelu", "relu"] = "gelu",
        dropout: float = 0.0,
        drop_prob: float = 0.0,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r} must be one of 'gelu', 'relu'")
        self.down = nn.Linear(embed_dim, bottleneck_dim)
        self.up = zero_linear(bottleneck_dim, embed_dim)
        self.scale = scale
        self.activate = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_prob)

    def adapter_params(self) -> list[str]:
        """Everything here is trained."""
        return [name for name, _ in self.named_parameters()]

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
        """Return what is added to the frozen branch."""
        h = self.dropout(self.activate(self.down(x)))
        return self.drop_path(_scaled(self.up(h), self.scale))


class MotionBottleneck(nn.Module):
    """The inside of a temporal adapter: flow enters, frames mix; R in, R out.

        h' = h * w                            patches only (gain)
        h' = h + W_f log(1 + w)               patches only (feature)
        g_t = sum_j w_tj h_tj / sum_j w_tj    motion-weighted pooling
        u = unit(g + temporal position)

    With ``pooling="token"`` the unit mixes ``h' + temporal position`` at every patch instead, and
    its output, which holds its input, takes the place of h'. With ``flow_as="feature"`` or
    ``"both"`` a coarse map of the flow also joins g_t.

    Args:
        dim: Bottleneck width R.
        unit: Mixer over the frames.
        pooling: ``"global"`` mixes one pooled vector a frame and gives it to every token;
            ``"token"`` mixes over T at every patch and leaves the prefix tokens alone.
        flow_as: How the flow enters: as a gain, as an input feature, or both.
        num_frames: Frames that the temporal position knows, at least T.
        flow_grid: Side of the coarse map that joins g_t (global pooling only).
    """

    def __init__(
        self,
        dim: int,
        unit: TemporalUnit,
        *,
        pooling: Pooling = "global",
        flow_as: FlowAs = "gain",
        num_frames: int = 32,
        flow_grid: int = 4,
    ) -> None:
        super().__init__()
        if pooling not in ("global", "token"):
            raise ValueError(f"pooling={pooling!r} must be one of 'global', 'token'")
        if flow_as not in ("gain", "feature", "both"):
            raise ValueError(f"flow_as={flow_as!r} must be one of 'gain', 'feature', 'both'")
        self.pooling = pooling
        self.is_gain = flow_as != "feature"
        self.unit = unit
        self.temporal_position = nn.Parameter(torch.zeros(num_frames, dim))
        nn.init.trunc_normal_(self.temporal_position, std=0.02)
        has_feature = flow_as != "gain"
        self.flow_feature = nn.Linear(1, dim, bias=False) if has_feature else None
        self.flow_map = (
            nn.Sequential(
                nn.AdaptiveAvgPool2d(flow_grid), nn.Flatten(), nn.Linear(flow_grid**2, dim)
            )
            if has_feature and pooling == "global"
            else None
        )

    def forward(
        self,
        h: Float[Tensor, "B T N R"],
        w: Float[Tensor, "B T P"],
        grid: Grid,
        state: Float[Tensor, "B T P R"] | None = None,
    ) -> Float[Tensor, "B T N R"]:
        """Return ``h' + u``; of the N tokens the first N - P are prefix tokens.

        Args:
            h: Down-projected tokens.
            w: Flow of the patches.
            grid: Rows and columns of the patches.
            state: Running state of a side ladder, whose tokens are patches alone; added after
                the gain.

        Raises:
            ValueError: More frames than the temporal position knows.
        """
        num_frames, num_prefix = h.shape[1], h.shape[2] - w.shape[2]
        if num_frames > len(self.temporal_position):
            raise ValueError(
                f"T={num_frames} exceeds num_frames={len(self.temporal_position)} of the "
                "temporal adapter; raise its num_frames"
            )
        w = w.to(h.dtype)
        position = self.temporal_position[:num_frames].to(h.dtype)
        moved = self._let_flow_in(h, w)
        if state is not None:
            moved = moved + state
        patches = moved[:, :, num_prefix:]
        if self.pooling == "token":
            patches = self.unit.mix_tokens(patches + position[:, None], grid)
            return torch.cat([h[:, :, :num_prefix], patches], dim=2) if num_prefix else patches
        if self.is_gain:
            plain = h[:, :, num_prefix:]
            pooled = weighted_mean(plain if state is None else plain + state, w)
        else:
            pooled = patches.mean(dim=2)
        if self.flow_map is not None:
            maps = w.log1p().flatten(0, 1).unflatten(-1, grid).unsqueeze(1)
            pooled = pooled + self.flow_map(maps).unflatten(0, w.shape[:2])
        mixed, _ = self.unit(pooled + position)
        return moved + mixed[:, :, None]

    def _let_flow_in(
        self, h: Float[Tensor, "B T N R"], w: Float[Tensor, "B T P"]
    ) -> Float[Tensor, "B T N R"]:
        """Let the flow change the patches; a gain of 1, a feature of 0 spare the prefix tokens.

        So all tokens stay in one tensor, where cutting and joining would copy them twice.
        """
        num_prefix = h.shape[2] - w.shape[2]
        gained = h
        if self.is_gain:
            gained = gained * F.pad(w, (num_prefix, 0), value=1.0)[..., None]
        if self.flow_feature is not None:
            gained = gained + self.flow_feature(F.pad(w.log1p(), (num_prefix, 0))[..., None])
        return gained


class TemporalAdapter(nn.Module):
    """Temporal processing adapter: ``y = s * W_up (h' + u)`` on the attention's output.

    Args:
        embed_dim: Width C.
        bottleneck_dim: Width R.
        unit: Mixer over the frames in the bottleneck.
        pooling: See :class:`MotionBottleneck`.
        flow_as: See :class:`MotionBottleneck`.
        num_frames: See :class:`MotionBottleneck`.
        flow_grid: See :class:`MotionBottleneck`.
        scale: Fixed factor s on the output.
    """

    def __init__(
        self,
        embed_dim: int,
        bottleneck_dim: int,
        unit: TemporalUnit,
        *,
        pooling: Pooling = "global",
        flow_as: FlowAs = "gain",
        num_frames: int = 32,
        flow_grid: int = 4,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.down = nn.Linear(embed_dim, bottleneck_dim)
        self.bottleneck = MotionBottleneck(
            bottleneck_dim,
            unit,
            pooling=pooling,
            flow_as=flow_as,
            num_frames=num_frames,
            flow_grid=flow_grid,
        )
        self.up = zero_linear(bottleneck_dim, embed_dim)
        self.scale = scale

    def adapter_params(self) -> list[str]:
        """Everything here is trained."""
        return [name for name, _ in self.named_parameters()]

    def forward(
        self, a: Float[Tensor, "B T N C"], w: Float[Tensor, "B T P"], grid: Grid
    ) -> Float[Tensor, "B T N C"]:
        """Return what is added to the attention's output; zero at the start."""
        h = F.gelu(self.down(a))
        return _scaled(self.up(self.bottleneck(h, w, grid)), self.scale)


def zero_linear(in_dim: int, out_dim: int) -> nn.Linear:
    """Return a linear layer whose weight and bias are zero, so that a branch starts silent."""
    linear = nn.Linear(in_dim, out_dim)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def weighted_mean(x: Float[Tensor, "B T P C"], w: Float[Tensor, "B T P"]) -> Float[Tensor, "B T C"]:
    """Average the patches of each frame, weighted by their motion."""
    return torch.einsum("btpc,btp->btc", x, w) / w.sum(dim=-1, keepdim=True)


def _scaled(x: Float[Tensor, "*axes"], scale: float) -> Float[Tensor, "*axes"]:
    """Multiply by a fixed factor; the usual one of 1 costs no pass over the tokens."""
    return x if scale == 1 else scale * x
