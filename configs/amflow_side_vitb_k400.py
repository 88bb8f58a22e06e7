"""AM Flow beside ViT-B/16 (CLIP, frozen), 8 frames, moving camera, Kinetics-400.

Method: ladder of width 192 on the tokens of frozen blocks 2, 5, 8, 11, no gradient in the
        transformer; frame pairs registered by AffineAligner, which has no parameters.
Recipe: AdamW 3e-4, batch 64, 30 epochs; tested on 3 clips x 1 crop.
Cost:   1,211,920 trainable of 87,011,344 parameters; 143.4 GMACs a view of 8 frames of 224 x 224,
        430.3 a video of 3 views.
Disk:   9.7 MB a clip, or 4.9 as int8: 1.27 TB for training and validation, so nothing is kept
        unless keep_features is set; then with one crop and flip of each training video.
Expect: not run yet.
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md).
Run:    tools/dist_train.sh configs/amflow_side_vitb_k400.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.k400 import *
    from ._base_.default_runtime import *
    from ._base_.models.side_vitb16_clip import *
    from ._base_.schedules.adamw_30e import *

from amflow_mm.datasets import FrozenFeatureDataset
from amflow_mm.engine.hooks import FlowStatisticsHook, FrozenFeatureHook
from amflow_mm.models.layers import AffineAligner

# Frozen features on disk ---------------------------------------------------------------------
keep_features = False  # compute the frozen model's tokens once and train on them from disk
kept_as = "int8"  # or "float16", twice the bytes, as training without the cache has them
num_draws = 1  # random crops and flips of each training video that are kept
max_gigabytes = 1500  # of all kept features in cache_dir; a run that needs more says so and ends
cache_dir = "data/cache"  # all processes and machines of a run must reach it

model.neck.update(aligner=dict(type=AffineAligner))
model.cls_head.update(num_classes=400)
if keep_features:
    train_dataloader.dataset = dict(
        type=FrozenFeatureDataset,
        cache_dir=cache_dir,
        num_draws=num_draws,
        dataset=train_dataloader.dataset,
    )
    val_dataloader.dataset = dict(
        type=FrozenFeatureDataset, cache_dir=cache_dir, dataset=val_dataloader.dataset
    )
custom_hooks.append(
    dict(
        type=FrozenFeatureHook,
        batch_size=8,
        num_workers=8,
        kept_as=kept_as,
        max_gigabytes=max_gigabytes,
    )
)
custom_hooks.append(dict(type=FlowStatisticsHook, interval=50))
