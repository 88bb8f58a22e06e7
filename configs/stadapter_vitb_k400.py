"""ST-Adapter (arXiv:2206.13559), ViT-B/16 (CLIP, frozen), 8 frames, Kinetics-400.

Method: 12 adapters of width 384 with a depthwise convolution over 3 frames, before the MLP of all
        12 blocks. As published, the last one, 592,512 parameters, does not reach CLS.
Recipe: as published: AdamW 1e-3 for 256 clips, weight decay 0.01, batch 192, 12 epochs, 2 of
        warm-up; tested on 3 clips x 1 crop. Augmentation as in the other configs here.
Cost:   7,417,744 trainable of 93,217,168 parameters; 151.6 GMACs a view of 8 frames of 224 x 224,
        454.9 a video of 3 views.
Expect: not run yet. Published: 82.2 top-1 (released model, its repository's table).
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md).
Run:    tools/dist_train.sh configs/stadapter_vitb_k400.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.k400 import *
    from ._base_.default_runtime import *
    from ._base_.models.image_vitb16_clip import *
    from ._base_.schedules.adamw_30e import *

from amflow_mm.models import STAdapterViT

model.backbone.update(type=STAdapterViT, positions=("before_mlp",), bottleneck_dim=384)
model.cls_head.update(num_classes=400, init_std=0.02)
train_cfg.update(max_epochs=12)
train_dataloader.update(batch_size=24)
optim_wrapper.optimizer.update(lr=7.5e-4, weight_decay=0.01)
optim_wrapper.update(clip_grad=None)
param_scheduler[0].update(end=2)
param_scheduler[1].update(begin=2, end=12, eta_min=0.0)
auto_scale_lr.update(base_batch_size=192)
