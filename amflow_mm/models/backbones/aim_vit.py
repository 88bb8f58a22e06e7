"""AIMViT: adapters around a frozen attention that is also applied over time.

Yang et al., "AIM: Adapting Image Models for Efficient Video Action Recognition",
arXiv:2302.03024, https://github.com/taoyang1122/adapt-image-models (Apache-2.0).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from amflow_mm.models.backbones.image_vit import ImageViT
from amflow_mm.models.backbones.vit_layouts import FamilyName
from amflow_mm.models.layers import (
    Adapter,
    Grid,
    SpatialAdapter,
    TemporalAttentionAdapter,
    TemporalPosition,
)
from amflow_mm.models.layers.mlp import Activation
from amflow_mm.registry import MODELS


@MODELS.register_module()
class AIMViT(ImageViT):
    """AIM in every block: ``amflow_mm/models/layers/aim_adapters.py`` has the equations.

    Fresh, it equals the image model to the bit: second linear layers and temporal position are
    zero. Stochastic depth drops the temporal and the MLP adapters alone, whole clips of them
    (the authors' code, whose first axis is the tokens', drops tokens).

    Args:
        num_frames: Frames that have a temporal position, at least T.
        bottleneck_dim: Width R of the adapters; ``None`` is C/4.
        scale: Fixed factor on the MLP adapter: published 0.5 for Kinetics-400, 1 for
            Something-Something v2.
        num_temporal_adapters: 1; published 2 for Something-Something v2.
        variant: See :class:`ImageViT`.
        family: See :class:`ImageViT`.
        pretrained: See :class:`ImageViT`.
        image_size: See :class:`ImageViT`.
        num_registers: See :class:`ImageViT`.
        activation: See :class:`ImageViT`.
        readout: See :class:`ImageViT`.
        drop_path_rate: Of the adapters in the last block; it grows linearly from zero.
        use_checkpoint: See :class:`ImageViT`.
        train_norm: See :class:`ImageViT`.
    """

    def __init__(
        self,
        num_frames: int = 8,
        *,
        bottleneck_dim: int | None = None,
        scale: float = 0.5,
        num_temporal_adapters: Literal[1, 2] = 1,
        variant: str | dict[str, int] = "b16",
        family: FamilyName = "clip",
        pretrained: str | None = None,
        image_size: int | None = None,
        num_registers: int = 0,
        activation: Activation | None = None,
        readout: Literal["cls", "patch"] = "cls",
        drop_path_rate: float = 0.2,
        use_checkpoint: bool = False,
        train_norm: bool = True,
    ) -> None:
        super().__init__(
            variant,
            family=family,
            pretrained=pretrained,
            image_size=image_size,
            num_registers=num_registers,
            activation=activation,
            readout=readout,
            use_checkpoint=use_checkpoint,
            train_norm=train_norm,
        )
        self.temporal_position = TemporalPosition(num_frames, self.embed_dim)
        widths = (self.embed_dim, bottleneck_dim or self.embed_dim // 4)
        drop_probs = torch.linspace(0, drop_path_rate, len(self.blocks), device="cpu").tolist()
        for block, drop_prob in zip(self.blocks, drop_probs, strict=True):
            block.over_time = TemporalAttentionAdapter(
                *widths, num_adapters=num_temporal_adapters, drop_prob=drop_prob
            )
            block.after_attention = SpatialAdapter(*widths)
            block.beside_mlp = Adapter(*widths, scale=scale, drop_prob=drop_prob)
        for adapter in self.modules():
            if isinstance(adapter, Adapter):  # as published
                nn.init.trunc_normal_(adapter.down.weight, std=0.02)
                nn.init.zeros_(adapter.down.bias)

    def embed(
        self, clips: Float[Tensor, "B 3 T height width"]
    ) -> tuple[Float[Tensor, "B T N C"], Grid]:
        """Return the tokens before the first block, with their places in the frame and in time."""
        grid = self.embedding.patch_embed.grid(*clips.shape[-2:])
        tokens = self.embedding(clips.transpose(1, 2).flatten(0, 1))
        return self.norm_pre(self.temporal_position(tokens.unflatten(0, (len(clips), -1)))), grid
