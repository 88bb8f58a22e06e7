"""The part of a config's model that AM flow needs: frozen image model, neck, preprocessor."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, UInt8
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from amflow_mm.engine.errors import UserError
from amflow_mm.models import ImageViT
from amflow_mm.models.weights import load_image_weights
from amflow_mm.registry import MODELS

LAYOUT_KEYS = ("variant", "family", "image_size", "num_registers", "activation")
"""Arguments of a backbone that describe its frozen image model, as opposed to adapters."""


class FrozenFlow(nn.Module):
    """Measures AM flow on the frozen image model of a config; needs no checkpoint.

    Adapters and head are left out: fresh, they change nothing.

    Args:
        backbone: Image model.
        neck: Module that tells the motion of patches.
        data_preprocessor: Normalises frames.
    """

    def __init__(self, backbone: ImageViT, neck: nn.Module, data_preprocessor: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.data_preprocessor = data_preprocessor

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.backbone.blocks)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.backbone.patch_size

    def default_layers(self) -> tuple[int, ...]:
        """Return the blocks whose flow follows moving things best: the second to the middle one.

        Blocks 1-6 of 12. Judged by eye on real clips with the quick start's ViT-S/14: block 0
        lights single background patches, blocks 7 and 10 the borders and texture of the
        background, and the last ones lose the parts of a body.
        """
        first = max(1, self.depth // 12) if self.depth > 1 else 0
        return tuple(range(first, max(first, self.depth // 2) + 1))

    @torch.inference_mode()
    def forward(
        self, clip: UInt8[Tensor, "T height width 3"], layers: Sequence[int]
    ) -> Float[Tensor, "T-1 P"]:
        """Return w of each pair of consecutive frames, averaged over blocks.

        Args:
            clip: RGB frames; height and width multiples of the patch size.
            layers: Blocks to average over.
        """
        view = clip.permute(3, 0, 1, 2)[None]  # V 3 T height width
        # Not by calling the preprocessor: it would move its input to the device it was made on.
        views, _ = self.data_preprocessor.preprocess([view], [None])
        x, grid = self.backbone.embed(views.flatten(0, 1))
        flows = []
        for layer in range(max(layers) + 1):
            neck = self.neck if layer in layers else None
            x, w = self.backbone.run_block(layer, x, grid, neck)
            if w is not None:
                flows.append(w[0, :-1])  # the last frame repeats its predecessor
        return torch.stack(flows).mean(dim=0)


def build_frozen_flow(cfg: Config, device: str | torch.device = "cpu") -> FrozenFlow:
    """Build what AM flow needs of the model of a config, with its pretrained image weights.

    Args:
        cfg: Whole config, or any config with `model`.
        device: Where it is to run.

    Raises:
        UserError: The config's model has no image transformer or no neck, or its weights are
            missing or do not fit.
    """
    init_default_scope(cfg.get("default_scope", "amflow_mm"))
    parts = cfg.model
    if parts.get("neck") is None:
        raise UserError("model.neck is not set: there is no AM flow to show; add neck=dict(AMFlow)")
    backbone = _build_image_model(parts.backbone)
    preprocessor = MODELS.build(parts.data_preprocessor)
    model = FrozenFlow(backbone, MODELS.build(parts.neck), preprocessor)
    return model.to(device).eval()


def _build_image_model(cfg: dict[str, Any]) -> ImageViT:
    """Build the frozen image model inside a backbone's config and load its weights."""
    kind = MODELS.get(cfg["type"]) if isinstance(cfg["type"], str) else cfg["type"]
    if not (inspect.isclass(kind) and issubclass(kind, ImageViT)):
        raise UserError(f"model.backbone.type={cfg['type']} is not built on ImageViT: no AM flow")
    vit = ImageViT(**{key: cfg[key] for key in LAYOUT_KEYS if key in cfg})
    if pretrained := cfg.get("pretrained"):
        try:
            load_image_weights(vit, pretrained)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"model.backbone.pretrained: {error}") from error
    return vit
