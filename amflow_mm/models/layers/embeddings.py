"""Patches, positions and prefix tokens of an image transformer."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from amflow_mm.models.layers.correspondence import Grid


class PatchEmbed(nn.Module):
    """Cut frames into square patches and project each to a token.

    Args:
        patch_size: Side of a patch in pixels.
        embed_dim: Width C.
        bias: Whether the projection has a bias (CLIP's has none).
    """

    def __init__(self, patch_size: int, embed_dim: int, *, bias: bool = True) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, embed_dim, patch_size, patch_size, bias=bias)

    def grid(self, height: int, width: int) -> Grid:
        """Return (rows, columns) of patches for a frame of that size in pixels.

        Raises:
            ValueError: A side is not a multiple of the patch size.
        """
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"frame size {height}x{width} must be a multiple of patch_size="
                f"{self.patch_size}; change the Resize or crop of the pipeline"
            )
        return height // self.patch_size, width // self.patch_size

    def forward(self, frames: Float[Tensor, "F 3 height width"]) -> Float[Tensor, "F P C"]:
        """Return the patch tokens, row by row."""
        self.grid(*frames.shape[-2:])
        return self.proj(frames).flatten(2).transpose(1, 2)


def resample_position_grid(
    positions: Float[Tensor, "1 P C"],
    source: Grid,
    target: Grid,
    *,
    offset: float = 0.0,
    antialias: bool = False,
) -> Float[Tensor, "1 Q C"]:
    """Resample learned positions of patches to another grid, bicubically.

    Args:
        positions: Embeddings on the source grid, row by row.
        source: Grid of the checkpoint.
        target: Grid of the frames at hand.
        offset: Added to the target's sides when the scale is computed; DINOv2's released code
            resamples with 0.1, and its checkpoints expect that.
        antialias: Filter before shrinking (timm and DINOv2 with registers do).
    """
    if source == target:
        return positions
    image = positions.transpose(1, 2).unflatten(-1, source).float()
    if offset:
        scale = tuple((t + offset) / s for t, s in zip(target, source, strict=True))
        image = F.interpolate(image, scale_factor=scale, mode="bicubic", antialias=antialias)
    else:
        image = F.interpolate(image, size=target, mode="bicubic", antialias=antialias)
    return image.flatten(2).transpose(1, 2).to(positions.dtype)


class TokenEmbedding(nn.Module):
    """Frames to tokens: CLS and registers first, then the patches with their positions.

    Args:
        embed_dim: Width C.
        patch_size: Side of a patch in pixels.
        position_grid: Grid of the stored positions.
        num_registers: Register tokens between CLS and the patches; they have no position.
        patch_bias: Whether the patch projection has a bias.
        position_offset: See :func:`resample_position_grid`.
        position_antialias: See :func:`resample_position_grid`.
    """

    def __init__(
        self,
        embed_dim: int,
        patch_size: int,
        position_grid: Grid,
        *,
        num_registers: int = 0,
        patch_bias: bool = True,
        position_offset: float = 0.0,
        position_antialias: bool = False,
    ) -> None:
        super().__init__()
        self.position_grid = position_grid
        self.position_offset = position_offset
        self.position_antialias = position_antialias
        self.patch_embed = PatchEmbed(patch_size, embed_dim, bias=patch_bias)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.cls_position = nn.Parameter(torch.zeros(1, 1, embed_dim))
        num_positions = position_grid[0] * position_grid[1]
        self.patch_position = nn.Parameter(torch.zeros(1, num_positions, embed_dim))
        self.registers = (
            nn.Parameter(torch.zeros(1, num_registers, embed_dim)) if num_registers else None
        )
        for parameter in (self.cls_token, self.patch_position):
            nn.init.trunc_normal_(parameter, std=0.02)

    @property
    def num_prefix_tokens(self) -> int:
        """CLS and registers."""
        return 1 if self.registers is None else 1 + self.registers.shape[1]

    def forward(self, frames: Float[Tensor, "F 3 height width"]) -> Float[Tensor, "F N C"]:
        """Embed each frame on its own."""
        positions = resample_position_grid(
            self.patch_position,
            self.position_grid,
            self.patch_embed.grid(*frames.shape[-2:]),
            offset=self.position_offset,
            antialias=self.position_antialias,
        )
        patches = self.patch_embed(frames) + positions
        prefix = [self.cls_token + self.cls_position]
        if self.registers is not None:
            prefix.append(self.registers)
        prefix = [token.expand(frames.shape[0], -1, -1) for token in prefix]
        return torch.cat([*prefix, patches], dim=1)
