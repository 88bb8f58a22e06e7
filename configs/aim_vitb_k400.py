"""AIM (arXiv:2302.03024), ViT-B/16 (CLIP, frozen), 8 frames, Kinetics-400.

Method: in all 12 blocks adapters of width 192: after the frozen attention over the frame, after the
        same attention over time, and beside the MLP with scale 0.5; temporal position, final norm.
Recipe: as published: AdamW 3e-4, batch 64, 30 epochs, stochastic depth 0.2; tested on 3 clips x 1
        crop. Short side at test as in the other configs here.
Cost:   10,966,672 trainable of 96,764,560 parameters; 202.1 GMACs a view of 8 frames of 224 x 224,
        606.3 a video of 3 views.
Expect: not run yet. Published: 83.9 top-1, 11 M trained, 606 G over 3 views (GMACs, as here).
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md).
Run:    tools/dist_train.sh configs/aim_vitb_k400.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.k400 import *
    from ._base_.default_runtime import *
    from ._base_.models.image_vitb16_clip import *
    from ._base_.schedules.adamw_30e import *

from amflow_mm.models import AIMViT

model.backbone.update(type=AIMViT, num_frames=8, scale=0.5, drop_path_rate=0.2)
model.cls_head.update(num_classes=400)
optim_wrapper.update(clip_grad=None)
param_scheduler[1].update(eta_min=0.0)
