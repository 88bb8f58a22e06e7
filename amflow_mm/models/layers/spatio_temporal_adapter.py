"""ST-Adapter (Pan et al., arXiv:2206.13559): a depthwise convolution in the bottleneck."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from amflow_mm.models.layers.correspondence import Grid


class SpatioTemporalAdapter(nn.Module):
    """``W_up DWConv3d(W_down x)`` on the patches of a clip, zero at the start.

    It starts silent by its convolution, which is zero and has no bias to begin with; both linear
    layers keep their usual matrices. Between the three stands no activation, as in the authors'
    code (the paper writes one). Prefix tokens (CLS, registers) are left alone.

    Args:
        embed_dim: Width C.
        bottleneck_dim: Width R.
        kernel_size: Odd extent over frames, rows and columns.
    """

    def __init__(
        self,
        embed_dim: int,
        bottleneck_dim: int,
        *,
        kernel_size: tuple[int, int, int] = (3, 1, 1),
    ) -> None:
        super().__init__()
        if len(kernel_size) != 3 or any(k < 1 or k % 2 == 0 for k in kernel_size):
            raise ValueError(
                f"kernel_size={tuple(kernel_size)} must be three odd numbers, over frames, rows "
                "and columns, so that every patch stays in the middle"
            )
        self.down = nn.Linear(embed_dim, bottleneck_dim)
        self.conv = nn.Conv3d(
            bottleneck_dim,
            bottleneck_dim,
            tuple(kernel_size),
            padding=tuple(k // 2 for k in kernel_size),
            groups=bottleneck_dim,
        )
        self.up = nn.Linear(bottleneck_dim, embed_dim)
        for silent in (self.conv.weight, self.conv.bias, self.down.bias, self.up.bias):
            nn.init.zeros_(silent)

    def adapter_params(self) -> list[str]:
        """Everything here is trained."""
        return [name for name, _ in self.named_parameters()]

    def forward(self, x: Float[Tensor, "B T N C"], grid: Grid) -> Float[Tensor, "B T N C"]:
        """Return what is added to the tokens.

        Args:
            x: Tokens, the patches last.
            grid: Rows and columns of the patches.
        """
        num_prefix = x.shape[2] - grid[0] * grid[1]
        h = self.down(x[:, :, num_prefix:]).unflatten(2, grid)  # B T rows columns R
        h = self.conv(h.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1).flatten(2, 3)
        return F.pad(self.up(h), (0, 0, num_prefix, 0))
