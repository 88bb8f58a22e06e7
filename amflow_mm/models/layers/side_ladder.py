"""Rungs of a side ladder: each reads the tokens of one frozen block into a running state.

Side-tuning by a ladder: Sung et al., arXiv:2206.06522. Axes: B clips, T frames, P patches,
C width of the frozen model, R width of the ladder.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from amflow_mm.models.layers.adapter import FlowAs, MotionBottleneck, weighted_mean
from amflow_mm.models.layers.correspondence import Grid
from amflow_mm.models.layers.temporal_units import TemporalUnit


class TokenRung(nn.Module):
    """The state lives at every patch, and the unit mixes over the frames (and near patches).

        h = GELU(W_down LN(x))
        state = unit(state + h' + position)           h': h with the flow, see MotionBottleneck

    Args:
        embed_dim: Width C.
        dim: Width R.
        unit: Mixer over the frames.
        flow_as: How the flow enters.
        num_frames: Frames that the temporal position knows.
    """

    def __init__(
        self, embed_dim: int, dim: int, unit: TemporalUnit, *, flow_as: FlowAs, num_frames: int
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.down = nn.Linear(embed_dim, dim)
        self.bottleneck = MotionBottleneck(
            dim, unit, pooling="token", flow_as=flow_as, num_frames=num_frames
        )

    def adapter_params(self) -> list[str]:
        """Everything here is trained."""
        return [name for name, _ in self.named_parameters()]

    def forward(
        self,
        x: Float[Tensor, "B T P C"],
        w: Float[Tensor, "B T P"],
        grid: Grid,
        state: Float[Tensor, "B T P R"] | None = None,
    ) -> Float[Tensor, "B T P R"]:
        """Return the next state."""
        return self.bottleneck(F.gelu(self.down(self.norm(x))), w, grid, state)

    @staticmethod
    def frame_vectors(
        state: Float[Tensor, "B T P R"], w: Float[Tensor, "B T P"]
    ) -> Float[Tensor, "B T R"]:
        """Pool the patches of each frame: what moves has the say."""
        return weighted_mean(state, w)


class FrameRung(nn.Module):
    """The state is one vector a frame, and the unit mixes over the frames.

        g = W_down LN(sum_j w_j x_j / sum_j w_j)      a plain mean unless the flow is a gain
        g = g + W_map log2((1 + w) / 2)               with the flow as a feature: its coarse map
        state = unit(state + g + position)

    The map is zero where nothing stands out (w = 1). It tells where motion is, the pooled tokens
    what moves. W_down starts small, so that the map has the first word: a few hundred clips are
    soon learnt by heart from their textures.

    Args:
        embed_dim: Width C.
        dim: Width R.
        unit: Mixer over the frames.
        flow_as: How the flow enters.
        num_frames: Frames that the temporal position knows.
        flow_grid: Side of the coarse map.
    """

    def __init__(
        self,
        embed_dim: int,
        dim: int,
        unit: TemporalUnit,
        *,
        flow_as: FlowAs,
        num_frames: int,
        flow_grid: int,
    ) -> None:
        super().__init__()
        if flow_as not in ("gain", "feature", "both"):
            raise ValueError(f"flow_as={flow_as!r} must be one of 'gain', 'feature', 'both'")
        self.is_gain = flow_as != "feature"
        self.norm = nn.LayerNorm(embed_dim)
        self.down = nn.Linear(embed_dim, dim)
        nn.init.normal_(self.down.weight, std=0.06 / embed_dim**0.5)
        nn.init.zeros_(self.down.bias)
        self.flow_map: nn.Module | None = None
        if flow_as != "gain":
            linear = nn.Linear(flow_grid**2, dim)
            nn.init.kaiming_normal_(linear.weight, nonlinearity="linear")
            self.flow_map = nn.Sequential(nn.AdaptiveAvgPool2d(flow_grid), nn.Flatten(), linear)
        self.temporal_position = nn.Parameter(torch.zeros(num_frames, dim))
        nn.init.trunc_normal_(self.temporal_position, std=0.02)
        self.unit = unit

    def adapter_params(self) -> list[str]:
        """Everything here is trained."""
        return [name for name, _ in self.named_parameters()]

    def forward(
        self,
        x: Float[Tensor, "B T P C"],
        w: Float[Tensor, "B T P"],
        grid: Grid,
        state: Float[Tensor, "B T R"] | None = None,
    ) -> Float[Tensor, "B T R"]:
        """Return the next state.

        Raises:
            ValueError: More frames than the temporal position knows.
        """
        num_frames = x.shape[1]
        if num_frames > len(self.temporal_position):
            raise ValueError(
                f"T={num_frames} exceeds num_frames={len(self.temporal_position)} of the ladder; "
                "raise its num_frames"
            )
        pooled = weighted_mean(x, w) if self.is_gain else x.mean(dim=2)
        g = self.down(self.norm(pooled)) + self.temporal_position[:num_frames]
        if self.flow_map is not None:
            maps = ((1 + w) / 2).log2().flatten(0, 1).unflatten(-1, grid).unsqueeze(1)
            g = g + self.flow_map(maps).unflatten(0, w.shape[:2])
        return self.unit(g if state is None else state + g)[0]

    @staticmethod
    def frame_vectors(
        state: Float[Tensor, "B T R"], w: Float[Tensor, "B T P"]
    ) -> Float[Tensor, "B T R"]:
        """Return the state, which is one vector a frame already."""
        del w
        return state
