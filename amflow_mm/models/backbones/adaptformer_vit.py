"""AdaptFormerViT: a narrow adapter beside every MLP, and nothing over time.

Chen et al., "AdaptFormer: Adapting Vision Transformers for Scalable Visual Recognition",
arXiv:2205.13535, https://github.com/ShoufaChen/AdaptFormer (MIT).
"""

from collections.abc import Sequence
from typing import Literal

from torch import nn

from amflow_mm.models.backbones.image_vit import ImageViT
from amflow_mm.models.backbones.vit_layouts import FamilyName, check_layers
from amflow_mm.models.layers import Adapter
from amflow_mm.models.layers.mlp import Activation
from amflow_mm.registry import MODELS


@MODELS.register_module()
class AdaptFormerViT(ImageViT):
    """``x + MLP(LN x) + s W_up ReLU(W_down LN x)``: frames meet in the head alone.

    Fresh, it equals the image model to the bit. The adapter reads the normalised tokens, as the
    paper's equation does; the authors' video code reads them before the norm.

    Args:
        bottleneck_dim: Width R of the adapters.
        scale: Fixed factor s on their output.
        dropout: Fraction of the bottleneck that is dropped in training.
        adapter_layers: Blocks that get one, from 0; ``None`` is all of them.
        variant: See :class:`ImageViT`.
        family: See :class:`ImageViT`.
        pretrained: See :class:`ImageViT`.
        image_size: See :class:`ImageViT`.
        num_registers: See :class:`ImageViT`.
        activation: See :class:`ImageViT`.
        readout: See :class:`ImageViT`.
        drop_path_rate: See :class:`ImageViT`; it drops the adapters with the frozen branches.
        use_checkpoint: See :class:`ImageViT`.
        train_norm: See :class:`ImageViT`.
    """

    def __init__(
        self,
        bottleneck_dim: int = 64,
        *,
        scale: float = 0.1,
        dropout: float = 0.1,
        adapter_layers: Sequence[int] | None = None,
        variant: str | dict[str, int] = "b16",
        family: FamilyName = "clip",
        pretrained: str | None = None,
        image_size: int | None = None,
        num_registers: int = 0,
        activation: Activation | None = None,
        readout: Literal["cls", "patch"] = "cls",
        drop_path_rate: float = 0.0,
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
            drop_path_rate=drop_path_rate,
            use_checkpoint=use_checkpoint,
            train_norm=train_norm,
        )
        for layer in check_layers("adapter_layers", adapter_layers, len(self.blocks)):
            adapter = Adapter(
                self.embed_dim, bottleneck_dim, scale=scale, activation="relu", dropout=dropout
            )
            nn.init.zeros_(adapter.down.bias)  # its matrix is Kaiming's, torch's usual one
            self.blocks[layer].beside_mlp = adapter
