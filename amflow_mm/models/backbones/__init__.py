"""Backbones: image transformers, and what adapts them to video."""

from amflow_mm.models.backbones.amflow_vit import AMFlowViT
from amflow_mm.models.backbones.image_vit import ImageViT
from amflow_mm.models.backbones.output import BackboneOutput
from amflow_mm.models.backbones.side_vit import AMFlowSideViT

__all__ = ["AMFlowSideViT", "AMFlowViT", "BackboneOutput", "ImageViT"]
