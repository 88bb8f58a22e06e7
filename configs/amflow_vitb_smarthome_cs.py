"""AM Flow, ViT-B/16 (CLIP, frozen), 8 frames, static camera, Toyota Smarthome, cross-subject.

Method: flow and temporal adapter with TCN in all 12 blocks.
Recipe: AdamW 3e-4, batch 64, 30 epochs; tested on 1 clip x 3 crops. The protocol's measure is the
        mean class accuracy (acc/mean1), by which the best checkpoint is chosen on its own
        validation subjects; never compare it with top-1.
Cost:   4,108,063 trainable of 89,905,951 parameters; 148.9 GMACs a view of 8 frames of 224 x 224,
        446.8 a video of 3 views.
Expect: not run yet.
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md).
Run:    tools/dist_train.sh configs/amflow_vitb_smarthome_cs.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.smarthome import *
    from ._base_.default_runtime import *
    from ._base_.models.vitb16_clip import *
    from ._base_.schedules.adamw_30e import *

from amflow_mm.engine.hooks import FlowStatisticsHook

model.cls_head.update(num_classes=31)
default_hooks.checkpoint.update(save_best="acc/mean1")
custom_hooks.append(dict(type=FlowStatisticsHook, interval=50))
