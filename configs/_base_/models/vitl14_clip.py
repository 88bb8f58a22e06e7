"""AM Flow inside CLIP's ViT-L/14, every block; static camera, classes left to the experiment."""

from mmengine.config import read_base

with read_base():
    from .amflow_vit import *

# CLIP's own mean and deviation, times 255.
model.data_preprocessor.update(mean=[122.771, 116.746, 104.094], std=[68.501, 66.632, 70.323])
model.backbone.update(variant="l14", family="clip", pretrained="clip-vit-l14-openai")
model.backbone.adapter.update(bottleneck_dim=256)
model.cls_head.update(in_channels=1024)
