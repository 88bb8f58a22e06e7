"""AM Flow, ViT-B/16 (CLIP, frozen), 8 frames, moving camera, Kinetics-400.

Method: flow and temporal adapter with TCN in all 12 blocks; aligning encoder, affine.
Recipe: AdamW 3e-4, batch 64, 30 epochs; tested on 3 clips x 1 crop.
Cost:   4,986,262 trainable of 90,784,150 parameters; 171.2 GMACs a view of 8 frames of 224 x 224,
        513.7 a video of 3 views.
Expect: not run yet. Published peers, same image model, 8 frames, top-1: AIM (arXiv:2302.03024)
        83.9; the released model of ST-Adapter (arXiv:2206.13559, its repository's table) 82.2.
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md).
Run:    tools/dist_train.sh configs/amflow_vitb_k400.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.k400 import *
    from ._base_.default_runtime import *
    from ._base_.models.vitb16_clip import *
    from ._base_.schedules.adamw_30e import *

from amflow_mm.engine.hooks import FlowStatisticsHook
from amflow_mm.models.layers import AligningEncoder

model.neck.update(aligner=dict(type=AligningEncoder, embed_dim=768, warp="affine"))
model.cls_head.update(num_classes=400)
custom_hooks.append(dict(type=FlowStatisticsHook, interval=50))
