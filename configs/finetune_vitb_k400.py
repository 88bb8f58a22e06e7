"""Full fine-tuning, ViT-B/16 (CLIP), 8 frames, Kinetics-400.

Method: every parameter of the image model is trained, frame by frame; frames meet in the head
        alone. One end of the scale; probe_vitb_k400 is the other.
Recipe: ours: AdamW 3e-5, so that CLIP's weights are not torn down, batch 64, 30 epochs; tested on 3
        clips x 1 crop.
Cost:   86,107,024 trainable of 86,107,024 parameters; 140.5 GMACs a view of 8 frames of 224 x 224,
        421.5 a video of 3 views.
Expect: not run yet.
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md).
Run:    tools/dist_train.sh configs/finetune_vitb_k400.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.k400 import *
    from ._base_.default_runtime import *
    from ._base_.models.image_vitb16_clip import *
    from ._base_.schedules.adamw_30e import *

model.backbone.update(train_all=True)
model.cls_head.update(num_classes=400)
optim_wrapper.optimizer.update(lr=3e-5)
param_scheduler[1].update(eta_min=3e-7)
