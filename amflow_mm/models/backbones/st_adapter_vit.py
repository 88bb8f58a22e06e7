"""STAdapterViT: depthwise convolutions over time in adapters before attention and MLP.

Pan et al., "ST-Adapter: Parameter-Efficient Image-to-Video Transfer Learning",
arXiv:2206.13559, https://github.com/linziyi96/st-adapter (Apache-2.0).
"""

from collections.abc import Sequence
from typing import Literal

from amflow_mm.models.backbones.image_vit import ImageViT
from amflow_mm.models.backbones.vit_layouts import FamilyName, check_layers
from amflow_mm.models.layers import SpatioTemporalAdapter
from amflow_mm.models.layers.mlp import Activation
from amflow_mm.registry import MODELS

Position = Literal["before_attention", "before_mlp"]


@MODELS.register_module()
class STAdapterViT(ImageViT):
    """An ST-Adapter at the chosen positions of the chosen blocks: ``x + f(x)``, patches alone.

    Fresh, it equals the image model to the bit. Published are 12 adapters of width 384 for
    ViT-B/16 on Kinetics-400, before the MLPs, and 24 on Something-Something v2, before the
    attentions too. As published the last adapter before an MLP has no effect with
    ``readout="cls"``: nothing after it carries the patches into CLS, and its gradient is zero.
    The authors take the mean over the frames before the final norm, which they keep frozen; here
    the mean comes after it, in the head.

    Args:
        positions: Slots of a block that get an adapter.
        adapter_layers: Blocks that get them, from 0; ``None`` is all.
        bottleneck_dim: Width R; ``None`` is C/2.
        kernel_size: Odd extent of the convolution over frames, rows and columns.
        variant: See :class:`ImageViT`.
        family: See :class:`ImageViT`.
        pretrained: See :class:`ImageViT`.
        image_size: See :class:`ImageViT`.
        num_registers: See :class:`ImageViT`.
        activation: See :class:`ImageViT`.
        readout: See :class:`ImageViT`.
        drop_path_rate: See :class:`ImageViT`.
        use_checkpoint: See :class:`ImageViT`.
        train_norm: See :class:`ImageViT`.
    """

    def __init__(
        self,
        positions: Sequence[Position] = ("before_mlp",),
        *,
        adapter_layers: Sequence[int] | None = None,
        bottleneck_dim: int | None = None,
        kernel_size: tuple[int, int, int] = (3, 1, 1),
        variant: str | dict[str, int] = "b16",
        family: FamilyName = "clip",
        pretrained: str | None = None,
        image_size: int | None = None,
        num_registers: int = 0,
        activation: Activation | None = None,
        readout: Literal["cls", "patch"] = "cls",
        drop_path_rate: float = 0.0,
        use_checkpoint: bool = False,
        train_norm: bool = False,
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
        if not positions or not set(positions) <= {"before_attention", "before_mlp"}:
            raise ValueError(
                f"positions={positions!r} must be 'before_attention', 'before_mlp' or both"
            )
        for layer in check_layers("adapter_layers", adapter_layers, len(self.blocks)):
            for position in positions:
                adapter = SpatioTemporalAdapter(
                    self.embed_dim, bottleneck_dim or self.embed_dim // 2, kernel_size=kernel_size
                )
                setattr(self.blocks[layer], position, adapter)
