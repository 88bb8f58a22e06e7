"""Image towers as their authors wrote them, tiny: modules under the foreign names.

Their state dicts are foreign checkpoints, and their outputs are what the converted weights must
reproduce.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.tiny import DEPTH, HEADS, PATCH, SIZE, C

HIDDEN, SIDE = SIZE["mlp_dim"], 3


class _ClipMlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c_fc = nn.Linear(C, HIDDEN)
        self.c_proj = nn.Linear(HIDDEN, C)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c_fc(x)
        return self.c_proj(x * torch.sigmoid(1.702 * x))


class _ClipBlock(nn.Module):
    """Tokens first, then the batch, through torch's own attention: as in openai/CLIP."""

    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(C, HEADS)
        self.ln_1, self.ln_2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.mlp = _ClipMlp()

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class _ClipVisual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, C, PATCH, PATCH, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(C))
        self.positional_embedding = nn.Parameter(torch.zeros(1 + SIDE**2, C))
        self.ln_pre, self.ln_post = nn.LayerNorm(C), nn.LayerNorm(C)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(_ClipBlock() for _ in range(DEPTH))
        self.proj = nn.Parameter(torch.zeros(C, 8))

    def forward(self, frames: Tensor) -> Tensor:
        x = self.conv1(frames).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, C), x], dim=1)
        x = self.ln_pre(x + self.positional_embedding).transpose(0, 1)
        for block in self.transformer.resblocks:
            x = block(x)
        return self.ln_post(x[0])


class OpenAIClip(nn.Module):
    """The image tower and the first entries of the text tower."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = _ClipVisual()
        self.transformer = nn.Linear(C, C)
        self.token_embedding = nn.Embedding(5, C)
        self.logit_scale = nn.Parameter(torch.ones(()))

    def forward(self, frames: Tensor) -> Tensor:
        return self.visual(frames)


class _Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(C))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(C, 3 * C), nn.Linear(C, C)

    def forward(self, x: Tensor) -> Tensor:
        batch, num_tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, num_tokens, 3, HEADS, C // HEADS).permute(2, 0, 3, 1, 4)
        weights = (qkv[0] * (C // HEADS) ** -0.5 @ qkv[1].transpose(-2, -1)).softmax(dim=-1)
        return self.proj((weights @ qkv[2]).transpose(1, 2).reshape(batch, num_tokens, C))


class _Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(C, HIDDEN), nn.Linear(HIDDEN, C)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _GatedMlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w12, self.w3 = nn.Linear(C, 2 * HIDDEN), nn.Linear(HIDDEN, C)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(first) * second)


class _Block(nn.Module):
    def __init__(self, has_scale: bool, is_gated: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(C, eps=1e-6), nn.LayerNorm(C, eps=1e-6)
        self.attn, self.mlp = _Attention(), _GatedMlp() if is_gated else _Mlp()
        self.ls1, self.ls2 = (_Scale() if has_scale else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PlainViT(nn.Module):
    """DINOv2's image tower (scales, mask token) or timm's (a classifier).

    Args:
        is_dinov2: Whose.
        is_gated: DINOv2's ViT-g.
        num_registers: Register tokens.
        has_cls_position: timm's models with registers give CLS no position.
    """

    def __init__(
        self,
        *,
        is_dinov2: bool,
        is_gated: bool = False,
        num_registers: int = 0,
        has_cls_position: bool = True,
    ) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, C))
        self.pos_embed = nn.Parameter(torch.zeros(1, has_cls_position + SIDE**2, C))
        if num_registers:
            name = "register_tokens" if is_dinov2 else "reg_token"
            setattr(self, name, nn.Parameter(torch.zeros(1, num_registers, C)))
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, C, PATCH, PATCH)
        self.blocks = nn.ModuleList(_Block(is_dinov2, is_gated) for _ in range(DEPTH))
        self.norm = nn.LayerNorm(C, eps=1e-6)
        if is_dinov2:
            self.mask_token = nn.Parameter(torch.zeros(1, C))
        else:
            self.head = nn.Linear(C, 5)

    def forward(self, frames: Tensor) -> Tensor:
        x = self.patch_embed.proj(frames).flatten(2).transpose(1, 2)
        cls = self.cls_token.expand(len(x), 1, C)
        if self.pos_embed.shape[1] == x.shape[1]:
            x = torch.cat([cls, x + self.pos_embed], dim=1)
        else:
            x = torch.cat([cls, x], dim=1) + self.pos_embed
        for name in ("register_tokens", "reg_token"):
            if hasattr(self, name):
                registers = getattr(self, name).expand(len(x), -1, C)
                x = torch.cat([x[:, :1], registers, x[:, 1:]], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


def in_chunks(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename blocks as DINOv2 saves them when it shards: ``blocks.<chunk>.<block>``."""
    renamed = {}
    for name, value in state.items():
        head, _, tail = name.partition("blocks.")
        if tail:
            layer, _, rest = tail.partition(".")
            name = f"{head}blocks.{int(layer) // 2}.{layer}.{rest}"
        renamed[name] = value
    return renamed
