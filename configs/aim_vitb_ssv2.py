"""AIM (arXiv:2302.03024), ViT-B/16 (CLIP, frozen), 8 frames, Something-Something v2.

Method: in all 12 blocks adapters of width 192: after the frozen attention over the frame, after the
        same attention over time and before it, and beside the MLP with scale 1; temporal position,
        final norm.
Recipe: as published: AdamW 3e-4, batch 64, 50 epochs, stochastic depth 0.2, RandAugment, random
        erasing, label smoothing; tested on 1 clip x 3 crops. Short side at test as in the other
        configs here.
Cost:   14,343,342 trainable of 100,141,230 parameters; 207.7 GMACs a view of 8 frames of 224 x 224,
        623.0 a video of 3 views.
Expect: not run yet. Published: 68.1 top-1 with 16 frames.
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md), torchvision
        (requirements/optional.txt).
Run:    tools/dist_train.sh configs/aim_vitb_ssv2.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.ssv2 import *
    from ._base_.default_runtime import *
    from ._base_.models.image_vitb16_clip import *
    from ._base_.schedules.adamw_50e import *

from amflow_mm.models import AIMViT

model.backbone.update(
    type=AIMViT, num_frames=8, scale=1.0, num_temporal_adapters=2, drop_path_rate=0.2
)
model.cls_head.update(num_classes=174, label_smooth_eps=0.1)
optim_wrapper.update(clip_grad=None)
param_scheduler[1].update(eta_min=0.0)
