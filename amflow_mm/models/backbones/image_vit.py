"""ImageViT: an image transformer applied to a clip frame by frame.

Its layouts and sizes stand in ``vit_layouts.py``.
"""

from typing import Literal

import torch
from jaxtyping import Float
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from amflow_mm.models.backbones.output import BackboneOutput
from amflow_mm.models.backbones.vit_layouts import (
    FAMILIES,
    Family,
    FamilyName,
    Size,
    parse_variant,
    position_side,
)
from amflow_mm.models.layers import FlowModule, Grid, TokenEmbedding, TransformerBlock
from amflow_mm.models.layers.mlp import Activation
from amflow_mm.registry import MODELS


@MODELS.register_module()
class ImageViT(BaseModule):
    """Frozen image transformer, frame by frame; the trunk of every backbone here.

    Args:
        variant: Size and patch side, such as ``"b16"`` or ``"s14"``; or the fields of
            :class:`Size` and ``patch_size`` as a dict.
        family: Layout of the published weights.
        pretrained: Name or path of image weights, see ``amflow_mm.models.weights``; ``None``
            leaves the random initialisation.
        image_size: Side in pixels at which the weights' positions were learned; ``None`` is the
            family's usual one. A multiple of the patch side. Clips may have another size, of
            which both sides are multiples.
        num_registers: Register tokens of the weights.
        activation: ``None`` is the family's usual one.
        readout: A frame's vector after the final norm: ``"cls"``, or the ``"patch"`` mean.
        drop_path_rate: Stochastic depth of the last block; it grows linearly from zero.
        use_checkpoint: Recompute the blocks in the backward pass to save memory.
        compile_blocks: Run attention and feed-forward layers through ``torch.compile``: minutes
            at the start, results within rounding, the same checkpoints.
        train_norm: Whether the final norm is trained.
        train_all: Whether everything is trained: full fine-tuning, the opposite of a frozen probe.
    """

    def __init__(
        self,
        variant: str | dict[str, int] = "b16",
        *,
        family: FamilyName = "clip",
        pretrained: str | None = None,
        image_size: int | None = None,
        num_registers: int = 0,
        activation: Activation | None = None,
        readout: Literal["cls", "patch"] = "cls",
        drop_path_rate: float = 0.0,
        use_checkpoint: bool = False,
        compile_blocks: bool = False,
        train_norm: bool = False,
        train_all: bool = False,
    ) -> None:
        # The initializer is found by name, so that the backbone need not know file formats.
        init_cfg = pretrained and {"type": "PretrainedImageViT", "source": pretrained}
        super().__init__(init_cfg=init_cfg or None)
        if family not in FAMILIES:
            raise ValueError(f"family={family!r} must be one of {', '.join(FAMILIES)}")
        if readout not in ("cls", "patch"):
            raise ValueError(f"readout={readout!r} must be one of 'cls', 'patch'")
        layout = FAMILIES[family]
        size, self.patch_size = parse_variant(variant)
        self.family = family
        self.activation = activation or layout.activation
        self.embed_dim = size.embed_dim
        self.readout = readout
        self.use_checkpoint = use_checkpoint
        self.train_norm = train_norm
        self.train_all = train_all
        side = position_side(image_size, self.patch_size, family)
        self.embedding = TokenEmbedding(
            size.embed_dim,
            self.patch_size,
            (side, side),
            num_registers=num_registers,
            patch_bias=layout.patch_bias,
            # Meta's models with registers are resampled to a size and with a filter.
            position_offset=0.0 if num_registers else layout.position_offset,
            position_antialias=layout.position_antialias or num_registers > 0,
        )
        self.norm_pre: nn.Module = (
            nn.LayerNorm(size.embed_dim, eps=layout.norm_eps)
            if layout.embedding_norm
            else nn.Identity()
        )
        self.blocks = self._make_blocks(size, layout, drop_path_rate)
        for block in self.blocks:
            block.is_compiled = compile_blocks
        self.norm = nn.LayerNorm(size.embed_dim, eps=layout.norm_eps)

    def _make_blocks(self, size: Size, layout: Family, drop_path_rate: float) -> nn.ModuleList:
        drop_probs = torch.linspace(0, drop_path_rate, size.depth, device="cpu").tolist()
        return nn.ModuleList(
            TransformerBlock(
                size.embed_dim,
                size.num_heads,
                size.mlp_dim,
                activation=self.activation,
                gated_mlp=size.gated_mlp,
                layer_scale=layout.layer_scale,
                norm_eps=layout.norm_eps,
                drop_prob=drop_prob,
            )
            for drop_prob in drop_probs
        )

    def adapter_params(self) -> list[str]:
        """Everything, the final norm, or nothing."""
        if self.train_all:
            return [name for name, _ in self.named_parameters()]
        return ["norm.weight", "norm.bias"] if self.train_norm else []

    @property
    def num_prefix_tokens(self) -> int:
        """CLS and registers, which come first."""
        return self.embedding.num_prefix_tokens

    def embed(
        self, clips: Float[Tensor, "B 3 T height width"]
    ) -> tuple[Float[Tensor, "B T N C"], Grid]:
        """Return the tokens of every frame before the first block, and the patch grid."""
        grid = self.embedding.patch_embed.grid(*clips.shape[-2:])
        frames = clips.transpose(1, 2).flatten(0, 1)
        tokens = self.norm_pre(self.embedding(frames))
        return tokens.unflatten(0, (len(clips), -1)), grid

    def run_block(
        self,
        layer: int,
        x: Float[Tensor, "B T N C"],
        grid: Grid,
        flow: FlowModule | None,
        num_read: int | None = None,
    ) -> tuple[Float[Tensor, "B T M C"], Float[Tensor, "B T P"] | None]:
        """Apply block ``layer``, recomputing it in the backward pass where asked for.

        The arguments are those of :class:`TransformerBlock`.
        """
        block = self.blocks[layer]
        if self.use_checkpoint and torch.is_grad_enabled():
            return checkpoint(block, x, grid, flow, layer, num_read, use_reentrant=False)
        return block(x, grid, flow, layer, num_read)

    def num_frozen_stages(self) -> int:
        """Count the stages below everything that is trained: the embedding, then the blocks."""
        inside = ("blocks.", "norm.")
        below = [p for name, p in self.named_parameters() if not name.startswith(inside)]
        for stage, parameters in enumerate([below, *(b.parameters() for b in self.blocks)]):
            if any(parameter.requires_grad for parameter in parameters):
                return stage
        return 1 + len(self.blocks)

    def read_out(self, x: Float[Tensor, "B T N C"]) -> Float[Tensor, "B T C"]:
        """Return one vector a frame, after the final norm."""
        if self.readout == "cls":
            return self.norm(x[:, :, 0])
        return self.norm(x)[:, :, self.num_prefix_tokens :].mean(dim=2)

    def forward(
        self,
        clips: Float[Tensor, "B 3 T height width"],
        flow: FlowModule | None = None,
        return_flow: bool = False,
    ) -> BackboneOutput:
        """Return the features of every frame.

        Args:
            clips: Normalised frames.
            flow: Asked by each block that has an adapter for it (none here).
            return_flow: Measure the flow in every block and return it too.
        """
        # What no gradient passes through leaves nothing behind for one.
        num_frozen = 0 if clips.requires_grad else self.num_frozen_stages()
        with _no_grad_if(num_frozen > 0):
            x, grid = self.embed(clips)
        flows = []
        for layer, block in enumerate(self.blocks):
            asked = flow if return_flow or block.after_attention is not None else None
            is_last = layer == len(self.blocks) - 1
            # In training alone: what is reported of a model counts every token.
            reads_cls = is_last and self.readout == "cls" and torch.is_grad_enabled()
            with _no_grad_if(asked is None and layer + 1 < num_frozen):
                x, w = self.run_block(layer, x, grid, asked, 1 if reads_cls else None)
            flows.append(w)
        measured = return_flow and flow is not None
        return BackboneOutput(self.read_out(x), torch.stack(flows, dim=1) if measured else None)


def _no_grad_if(is_frozen: bool) -> torch.set_grad_enabled:
    """Record no gradient where there can be none, else as the caller does."""
    return torch.set_grad_enabled(torch.is_grad_enabled() and not is_frozen)
