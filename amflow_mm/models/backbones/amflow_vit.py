"""AMFlowViT: a frozen image transformer with AM flow and temporal adapters in its blocks.

Agrawal et al., "AM Flow: Adapters for Temporal Processing in Action Recognition",
arXiv:2411.02065. In each block, between the frozen attention and the rest:

    w = flow(q, k, x)                 which patches move
    x = x + a + adapter(a, w)         a: output of the frozen attention
    x = x + MLP(LN x) [+ adapter]
"""

import logging
from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Float
from mmengine.logging import print_log
from torch import Tensor, nn

from amflow_mm.models.backbones.image_vit import ImageViT
from amflow_mm.models.backbones.output import BackboneOutput
from amflow_mm.models.backbones.vit_layouts import FamilyName, check_layers
from amflow_mm.models.layers import FlowModule, TemporalAdapter
from amflow_mm.models.layers.mlp import Activation
from amflow_mm.models.registered_layers import build_adapter
from amflow_mm.registry import MODELS


@MODELS.register_module()
class AMFlowViT(ImageViT):
    """In-block adaptation: gradients pass through the frozen blocks above the first adapter.

    With fresh adapters it equals the image model frame by frame, to the bit.

    No block comes after the last one to carry what its adapter does at the patches into CLS. With
    ``readout="cls"`` these parts of that adapter therefore get a gradient of zero, and a warning
    names them: the temporal unit and position, the flow's feature and the flow itself with
    ``pooling="token"``; the flow's feature alone with ``pooling="global", flow_as="both"``.

    Args:
        adapter: Config of the temporal adapter; its width is filled in, and its
            ``bottleneck_dim`` defaults to C/4.
        adapter_layers: Blocks that get one, from 0; ``None`` is all of them.
        mlp_adapter: Config of a plain adapter beside the MLP of the same blocks; ``None`` is none.
        variant: See :class:`ImageViT`.
        family: See :class:`ImageViT`.
        pretrained: See :class:`ImageViT`.
        image_size: See :class:`ImageViT`.
        num_registers: See :class:`ImageViT`.
        activation: See :class:`ImageViT`.
        readout: See :class:`ImageViT`.
        drop_path_rate: See :class:`ImageViT`.
        use_checkpoint: See :class:`ImageViT`.
        compile_blocks: See :class:`ImageViT`.
        train_norm: See :class:`ImageViT`.
    """

    def __init__(
        self,
        adapter: dict[str, Any],
        *,
        adapter_layers: Sequence[int] | None = None,
        mlp_adapter: dict[str, Any] | None = None,
        variant: str | dict[str, int] = "b16",
        family: FamilyName = "clip",
        pretrained: str | None = None,
        image_size: int | None = None,
        num_registers: int = 0,
        activation: Activation | None = None,
        readout: Literal["cls", "patch"] = "cls",
        drop_path_rate: float = 0.0,
        use_checkpoint: bool = False,
        compile_blocks: bool = False,
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
            compile_blocks=compile_blocks,
            train_norm=train_norm,
        )
        for layer in check_layers("adapter_layers", adapter_layers, len(self.blocks)):
            block = self.blocks[layer]
            block.after_attention = build_adapter(adapter, self.embed_dim)
            if mlp_adapter is not None:
                block.beside_mlp = build_adapter(mlp_adapter, self.embed_dim)
        if readout == "cls":
            self._warn_of_unread_parts()

    def _warn_of_unread_parts(self) -> None:
        unread = _patch_parts(self.blocks[-1].after_attention)
        if unread:
            last = len(self.blocks) - 1
            print_log(
                f"readout='cls' reads no patch and no block follows block {last}, so that of its "
                f"adapter {', '.join(unread)} will not learn; set readout='patch', leave block "
                f"{last} out of adapter_layers, or give the adapter pooling='global' and "
                "flow_as='gain'",
                logger="current",
                level=logging.WARNING,
            )

    def forward(
        self,
        clips: Float[Tensor, "B 3 T height width"],
        flow: FlowModule | None = None,
        return_flow: bool = False,
    ) -> BackboneOutput:
        """Return the features of every frame.

        Args:
            clips: Normalised frames.
            flow: The AM flow module; every temporal adapter needs it.
            return_flow: Measure the flow in every block and return it too.

        Raises:
            ValueError: ``flow`` is missing.
        """
        if flow is None:
            raise ValueError(
                "flow=None, but the temporal adapters need the motion of the patches: give the "
                "recognizer a neck (AMFlow, or UniformFlow for w = 1)"
            )
        return super().forward(clips, flow, return_flow)


def _patch_parts(adapter: nn.Module | None) -> list[str]:
    """Name the trained parts of a temporal adapter whose output reaches the patches alone."""
    if not isinstance(adapter, TemporalAdapter):
        return []
    inside = adapter.bottleneck
    parts = []
    if inside.pooling == "token":
        parts += ["bottleneck.unit", "bottleneck.temporal_position"]
    # As a gain too, the flow weights the plain tokens that are pooled, without the feature.
    has_unpooled_feature = inside.pooling == "token" or inside.is_gain
    if inside.flow_feature is not None and has_unpooled_feature:
        parts.append("bottleneck.flow_feature")
    return parts
