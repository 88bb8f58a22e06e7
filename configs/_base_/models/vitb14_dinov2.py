"""AM Flow inside DINOv2's ViT-B/14, every block; static camera, classes left to the experiment."""

from mmengine.config import read_base

with read_base():
    from .amflow_vit import *

# ImageNet's mean and deviation, times 255.
model.data_preprocessor.update(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
model.backbone.update(variant="b14", family="dinov2", pretrained="dinov2-vitb14")
model.backbone.adapter.update(bottleneck_dim=192)
model.cls_head.update(in_channels=768)
