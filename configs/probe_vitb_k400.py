"""Frozen probe, ViT-B/16 (CLIP, frozen), 8 frames, Kinetics-400.

Method: a linear layer on the mean of the frames' CLS; nothing else is trained. One end of the
        scale; finetune_vitb_k400 is the other.
Recipe: ours: AdamW 3e-4, batch 64, 30 epochs; tested on 3 clips x 1 crop.
Cost:   307,600 trainable of 86,107,024 parameters; 140.5 GMACs a view of 8 frames of 224 x 224,
        421.5 a video of 3 views.
Expect: not run yet.
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md).
Run:    tools/dist_train.sh configs/probe_vitb_k400.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.k400 import *
    from ._base_.default_runtime import *
    from ._base_.models.image_vitb16_clip import *
    from ._base_.schedules.adamw_30e import *

model.cls_head.update(num_classes=400)
