"""ImageViT: an image transformer applied to a clip frame by frame.

Layouts:
    clip    Radford et al., arXiv:2103.00020, https://github.com/openai/CLIP (MIT)
    dinov2  Oquab et al., arXiv:2304.07193; registers: Darcet et al., arXiv:2309.16588;
            https://github.com/facebookresearch/dinov2 (Apache-2.0)
    dinov2_hf  the same, run as by https://github.com/huggingface/transformers (Apache-2.0)
    open_clip  Ilharco et al., https://github.com/mlfoundations/open_clip (MIT)
    mae     He et al., arXiv:2111.06377, https://github.com/facebookresearch/mae (CC-BY-NC 4.0);
            DeiT as https://github.com/facebookresearch/deit (Apache-2.0) runs it
    timm    Dosovitskiy et al., arXiv:2010.11929 as in AugReg, DeiT and timm (Apache-2.0)
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from jaxtyping import Float
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from amflow_mm.models.backbones.output import BackboneOutput
from amflow_mm.models.layers import FlowModule, Grid, TokenEmbedding, TransformerBlock
from amflow_mm.models.layers.mlp import Activation
from amflow_mm.registry import MODELS

FamilyName = Literal["clip", "open_clip", "dinov2", "dinov2_hf", "timm", "mae"]


@dataclass(frozen=True)
class Family:
    """What distinguishes the layouts of published image transformers.

    Args:
        image_size: Side in pixels at which the published positions were learned.
        norm_eps: Epsilon of all norms.
        activation: Of the feed-forward layers.
        embedding_norm: Normalise the tokens before the first block (CLIP's ``ln_pre``).
        patch_bias: Whether the patch projection has a bias.
        layer_scale: Scale residual branches per channel.
        position_offset: See ``resample_position_grid``.
        position_antialias: See ``resample_position_grid``.
    """

    image_size: int = 224
    norm_eps: float = 1e-6
    activation: Activation = "gelu"
    embedding_norm: bool = False
    patch_bias: bool = True
    layer_scale: bool = False
    position_offset: float = 0.0
    position_antialias: bool = False


FAMILIES: dict[str, Family] = {
    "clip": Family(norm_eps=1e-5, activation="quick_gelu", embedding_norm=True, patch_bias=False),
    # open_clip/model.py, resize_pos_embed: antialias=True; GELU unless the name says quickgelu.
    "open_clip": Family(
        norm_eps=1e-5, embedding_norm=True, patch_bias=False, position_antialias=True
    ),
    "dinov2": Family(image_size=518, layer_scale=True, position_offset=0.1),
    # Where Meta's code resamples positions by a scale with an offset, Hugging Face's
    # (Dinov2Embeddings.interpolate_pos_encoding) and what is exported from it resample to a size.
    # In the ONNX file of the embedded ViT-S/14 the Resize takes sizes, cubic_coeff_a=-0.75 and
    # half_pixel, which is F.interpolate(size=..., mode="bicubic", align_corners=False). At 112
    # pixels onnxruntime's tokens after each block are ours within 2e-6 of their norm; an offset
    # of 0.1 moves them by a few per cent.
    "dinov2_hf": Family(image_size=518, layer_scale=True),
    "timm": Family(position_antialias=True),
    "mae": Family(),  # util/pos_embed.py: resampled to the size, unfiltered; so does DeiT's code
}


@dataclass(frozen=True)
class Size:
    """Widths and depth of a transformer; ``gated_mlp`` marks DINOv2's ViT-g."""

    embed_dim: int
    depth: int
    num_heads: int
    mlp_dim: int
    gated_mlp: bool = False


SIZES: dict[str, Size] = {
    "ti": Size(192, 12, 3, 768),
    "s": Size(384, 12, 6, 1536),
    "b": Size(768, 12, 12, 3072),
    "l": Size(1024, 24, 16, 4096),
    "g": Size(1536, 40, 24, 4096, gated_mlp=True),
}


def parse_variant(variant: str | dict[str, int]) -> tuple[Size, int]:
    """Return the size and the patch side of a variant such as ``"b16"``.

    Raises:
        ValueError: The name is not a known size followed by a patch side in pixels, or the dict
            does not hold the fields of a size and of the patches.
    """
    if not isinstance(variant, str):
        return _parse_fields(dict(variant))
    match = re.fullmatch(r"([a-z]+)([1-9]\d*)", variant)
    if match is None or match[1] not in SIZES:
        raise ValueError(
            f"variant={variant!r} must be one of {', '.join(SIZES)} followed by the patch side "
            "in pixels, such as 'b16', or a dict of Size's fields and patch_size"
        )
    return SIZES[match[1]], int(match[2])


def _parse_fields(variant: dict[str, int]) -> tuple[Size, int]:
    known = {field.name for field in fields(Size)} | {"patch_size"}
    missing = sorted(known - {"gated_mlp"} - variant.keys())
    unknown = sorted(variant.keys() - known)
    if missing or unknown:
        raise ValueError(
            f"variant={variant} must have the fields embed_dim, depth, num_heads, mlp_dim and "
            f"patch_size, and may have gated_mlp; add {missing}, remove or rename {unknown}"
        )
    return Size(**{k: v for k, v in variant.items() if k != "patch_size"}), variant["patch_size"]


def position_side(image_size: int | None, patch_size: int, family: FamilyName) -> int:
    """Return how many patches stand on a side of the image whose positions the weights hold.

    Raises:
        ValueError: The patches do not divide the image.
    """
    side = FAMILIES[family].image_size if image_size is None else image_size
    if side < patch_size or side % patch_size:
        origin = f", the usual one of family={family!r}," if image_size is None else ""
        raise ValueError(
            f"image_size={side}{origin} must be a multiple of the patch side {patch_size}; pass "
            "the size at which the weights' positions were learned (frames may have another)"
        )
    return side // patch_size


def check_layers(name: str, layers: Sequence[int] | None, depth: int) -> tuple[int, ...]:
    """Return the blocks meant, in order.

    Raises:
        ValueError: A block does not exist or is named twice.
    """
    chosen = tuple(range(depth)) if layers is None else tuple(layers)
    if len(set(chosen)) != len(chosen) or any(not 0 <= layer < depth for layer in chosen):
        raise ValueError(f"{name}={list(chosen)} must be different blocks from 0 to {depth - 1}")
    return tuple(sorted(chosen))


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
        self, layer: int, x: Float[Tensor, "B T N C"], grid: Grid, flow: FlowModule | None
    ) -> tuple[Float[Tensor, "B T N C"], Float[Tensor, "B T P"] | None]:
        """Apply block ``layer``, recomputing it in the backward pass where asked for."""
        block = self.blocks[layer]
        if self.use_checkpoint and torch.is_grad_enabled():
            return checkpoint(block, x, grid, flow, layer, use_reentrant=False)
        return block(x, grid, flow, layer)

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
        x, grid = self.embed(clips)
        flows = []
        for layer, block in enumerate(self.blocks):
            wants_flow = return_flow or block.after_attention is not None
            x, w = self.run_block(layer, x, grid, flow if wants_flow else None)
            flows.append(w)
        measured = return_flow and flow is not None
        return BackboneOutput(self.read_out(x), torch.stack(flows, dim=1) if measured else None)
