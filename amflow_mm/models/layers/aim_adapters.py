"""What AIM adds to a frozen transformer (Yang et al., arXiv:2302.03024, section 3).

    x = x + DropPath(T(MSA(LN1 x)))    over T, by the *same* frozen attention: ``over_time``
    x = x + a + S(a)                   a = MSA(LN1 x) over the frame: ``after_attention``
    x = x + MLP(LN2 x) + DropPath(s * M(LN2 x))                       ``beside_mlp``

T, S and M are plain adapters; M is :class:`Adapter` itself.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from amflow_mm.models.layers.adapter import Adapter
from amflow_mm.models.layers.correspondence import Grid

AttendOverTime = Callable[[Tensor], Tensor]


class TemporalPosition(nn.Module):
    """Learned position of each frame, the same for all its tokens; zero at the start.

    Args:
        num_frames: Frames that have a position, at least T.
        embed_dim: Width C.
    """

    def __init__(self, num_frames: int, embed_dim: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(num_frames, embed_dim))

    def adapter_params(self) -> list[str]:
        """Everything here is trained."""
        return ["position"]

    def forward(self, x: Float[Tensor, "B T N C"]) -> Float[Tensor, "B T N C"]:
        """Add its position to every frame.

        Raises:
            ValueError: More frames than positions.
        """
        num_frames = x.shape[1]
        if num_frames > len(self.position):
            raise ValueError(
                f"T={num_frames} exceeds num_frames={len(self.position)} of the temporal "
                "position; raise num_frames of the backbone"
            )
        return x + self.position[:num_frames, None]


class TemporalAttentionAdapter(nn.Module):
    """AIM's T-Adapter on the frozen attention over T: ``T(attend(h))``, zero at the start.

    The attention stays the block's own and comes as an argument: kept here, it would be
    registered twice and declared as trained. With ``num_adapters=2``, as published for
    Something-Something v2, another adapter stands before it: ``T(attend(h + T_in(h)))``.

    Args:
        embed_dim: Width C.
        bottleneck_dim: Width R of each adapter.
        num_adapters: One after the attention, or two, one before it as well.
        drop_prob: Stochastic depth of the branch, per clip.
    """

    def __init__(
        self,
        embed_dim: int,
        bottleneck_dim: int,
        *,
        num_adapters: Literal[1, 2] = 1,
        drop_prob: float = 0.0,
    ) -> None:
        super().__init__()
        if num_adapters not in (1, 2):
            raise ValueError(
                f"num_adapters={num_adapters} must be 1, after the temporal attention, or 2, "
                "before it as well"
            )
        self.before = Adapter(embed_dim, bottleneck_dim) if num_adapters == 2 else None
        self.after = Adapter(embed_dim, bottleneck_dim, drop_prob=drop_prob)

    def forward(
        self, h: Float[Tensor, "B T N C"], attend: AttendOverTime
    ) -> Float[Tensor, "B T N C"]:
        """Return what is added to the tokens.

        Args:
            h: Normalised tokens.
            attend: The block's attention, applied over T at every token.
        """
        if self.before is not None:
            h = h + self.before(h)
        return self.after(attend(h))


class SpatialAdapter(Adapter):
    """Plain adapter in the slot after the attention, which offers the flow; it takes none."""

    def forward(
        self,
        a: Float[Tensor, "B T N C"],
        w: Float[Tensor, "B T P"] | None = None,
        grid: Grid | None = None,
    ) -> Float[Tensor, "B T N C"]:
        """Return what is added to the attention's output; the slot adds the output itself."""
        del w, grid
        return super().forward(a)
