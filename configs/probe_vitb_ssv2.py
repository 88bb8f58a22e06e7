"""Frozen probe, ViT-B/16 (CLIP, frozen), 8 frames, Something-Something v2.

Method: a linear layer on the mean of the frames' CLS; nothing else is trained. One end of the
        scale; finetune_vitb_ssv2 is the other.
Recipe: ours: AdamW 3e-4, batch 64, 50 epochs, RandAugment, random erasing, label smoothing; tested
        on 1 clip x 3 crops.
Cost:   133,806 trainable of 85,933,230 parameters; 140.5 GMACs a view of 8 frames of 224 x 224,
        421.5 a video of 3 views.
Expect: not run yet.
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md), torchvision
        (requirements/optional.txt).
Run:    tools/dist_train.sh configs/probe_vitb_ssv2.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.ssv2 import *
    from ._base_.default_runtime import *
    from ._base_.models.image_vitb16_clip import *
    from ._base_.schedules.adamw_50e import *

model.cls_head.update(num_classes=174, label_smooth_eps=0.1)
