"""AM Flow, ViT-L/14 (CLIP, frozen), 8 frames, moving camera, Something-Something v2.

Method: flow and temporal adapter with TCN in all 24 blocks; aligning encoder, affine.
Recipe: AdamW 3e-4, batch 64, 50 epochs, RandAugment, random erasing, label smoothing; tested on
        1 clip x 3 crops.
Cost:   15,250,100 trainable of 318,427,828 parameters; 751.6 GMACs a view of 8 frames of 224 x
        224, 2254.7 a video of 3 views.
Expect: not run yet.
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md), torchvision
        (requirements/optional.txt).
Run:    tools/dist_train.sh configs/amflow_vitl_ssv2.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.ssv2 import *
    from ._base_.default_runtime import *
    from ._base_.models.vitl14_clip import *
    from ._base_.schedules.adamw_50e import *

from amflow_mm.engine.hooks import FlowStatisticsHook
from amflow_mm.models.layers import AligningEncoder

model.neck.update(aligner=dict(type=AligningEncoder, embed_dim=1024, warp="affine"))
model.cls_head.update(num_classes=174, label_smooth_eps=0.1)
custom_hooks.append(dict(type=FlowStatisticsHook, interval=50))
