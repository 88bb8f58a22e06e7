"""AdaptFormer (arXiv:2205.13535), ViT-B/16 (CLIP, frozen), 8 frames, Something-Something v2.

Method: in all 12 blocks an adapter of width 64 beside the MLP, scale 0.1; final norm. Frames meet
        in the head alone.
Recipe: ours, since the published one is a linear probe's, for another image model: AdamW 3e-4,
        batch 64, 50 epochs, RandAugment, random erasing, label smoothing; tested on 1 clip x 3
        crops.
Cost:   1,324,974 trainable of 87,122,862 parameters; 142.4 GMACs a view of 8 frames of 224 x 224,
        427.1 a video of 3 views.
Expect: not run yet. Published results are for other image models.
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md), torchvision
        (requirements/optional.txt).
Run:    tools/dist_train.sh configs/adaptformer_vitb_ssv2.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.ssv2 import *
    from ._base_.default_runtime import *
    from ._base_.models.image_vitb16_clip import *
    from ._base_.schedules.adamw_50e import *

from amflow_mm.models import AdaptFormerViT

model.backbone.update(type=AdaptFormerViT, bottleneck_dim=64, scale=0.1, dropout=0.1)
model.cls_head.update(num_classes=174, label_smooth_eps=0.1)
