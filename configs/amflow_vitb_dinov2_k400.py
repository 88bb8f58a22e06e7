"""AM Flow, ViT-B/14 (DINOv2, frozen), 8 frames, moving camera, Kinetics-400.

Method: flow and temporal adapter with TCN in all 12 blocks; aligning encoder, affine.
Recipe: AdamW 3e-4, batch 64, 30 epochs; tested on 3 clips x 1 crop.
Cost:   4,986,262 trainable of 91,564,438 parameters; 228.5 GMACs a view of 8 frames of 224 x 224,
        685.6 a video of 3 views.
Expect: not run yet.
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md).
Run:    tools/dist_train.sh configs/amflow_vitb_dinov2_k400.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.k400 import *
    from ._base_.default_runtime import *
    from ._base_.models.vitb14_dinov2 import *
    from ._base_.schedules.adamw_30e import *

from amflow_mm.engine.hooks import FlowStatisticsHook
from amflow_mm.models.layers import AligningEncoder

model.neck.update(aligner=dict(type=AligningEncoder, embed_dim=768, warp="affine"))
model.cls_head.update(num_classes=400)
custom_hooks.append(dict(type=FlowStatisticsHook, interval=50))
