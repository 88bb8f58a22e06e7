"""Backbones: image transformers, and what adapts them to video."""

from amflow_mm.models.backbones.adaptformer_vit import AdaptFormerViT
from amflow_mm.models.backbones.aim_vit import AIMViT
from amflow_mm.models.backbones.amflow_vit import AMFlowViT
from amflow_mm.models.backbones.image_vit import ImageViT
from amflow_mm.models.backbones.output import BackboneOutput
from amflow_mm.models.backbones.side_vit import AMFlowSideViT
from amflow_mm.models.backbones.st_adapter_vit import STAdapterViT

__all__ = [
    "AIMViT",
    "AMFlowSideViT",
    "AMFlowViT",
    "AdaptFormerViT",
    "BackboneOutput",
    "ImageViT",
    "STAdapterViT",
]
