"""ST-Adapter (arXiv:2206.13559), ViT-B/16 (CLIP, frozen), 8 frames, Something-Something v2.

Method: 24 adapters of width 384 with a depthwise convolution over 3 frames, before attention and
        MLP of all 12 blocks. As published, the last one, 592,512 parameters, does not reach CLS.
Recipe: as published: AdamW 1e-3 for 256 clips, weight decay 0.01, batch 256, 50 epochs, 2 of
        warm-up; tested on 1 clip x 3 crops. Augmentation as in the other configs here, without
        label smoothing.
Cost:   14,354,094 trainable of 100,153,518 parameters; 162.7 GMACs a view of 8 frames of 224 x 224,
        488.2 a video of 3 views.
Expect: not run yet. Published: 66.9 top-1 (released model, its repository's table), 69.3 with 16
        frames.
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md), torchvision
        (requirements/optional.txt).
Run:    tools/dist_train.sh configs/stadapter_vitb_ssv2.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.ssv2 import *
    from ._base_.default_runtime import *
    from ._base_.models.image_vitb16_clip import *
    from ._base_.schedules.adamw_50e import *

from amflow_mm.models import STAdapterViT

model.backbone.update(
    type=STAdapterViT, positions=("before_attention", "before_mlp"), bottleneck_dim=384
)
model.cls_head.update(num_classes=174, init_std=0.02)
train_dataloader.update(batch_size=32)
optim_wrapper.optimizer.update(lr=1e-3, weight_decay=0.01)
optim_wrapper.update(clip_grad=None)
param_scheduler[0].update(end=2)
param_scheduler[1].update(begin=2, end=50, eta_min=0.0)
auto_scale_lr.update(base_batch_size=256)
