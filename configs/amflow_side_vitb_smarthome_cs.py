"""AM Flow beside ViT-B/16 (CLIP, frozen), 8 frames, static camera, Toyota Smarthome, cross-subject.

Method: ladder of width 192 on the tokens of frozen blocks 2, 5, 8, 11, no gradient in the
        transformer; flow of the attention maps of these blocks.
Recipe: AdamW 3e-4, batch 64, 30 epochs; tested on 1 clip x 3 crops. The protocol's measure is the
        mean class accuracy (acc/mean1), by which the best checkpoint is chosen on its own
        validation subjects; never compare it with top-1.
Cost:   928,159 trainable of 86,727,583 parameters; 142.6 GMACs a view of 8 frames of 224 x 224,
        427.8 a video of 3 views.
Disk:   4.9 MB a clip as int8: 52.3 GB for training and validation in data/cache, with one crop and
        flip of each training video; keep_features = False trains from the videos.
Expect: not run yet.
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md).
Run:    tools/dist_train.sh configs/amflow_side_vitb_smarthome_cs.py 8
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.smarthome import *
    from ._base_.default_runtime import *
    from ._base_.models.side_vitb16_clip import *
    from ._base_.schedules.adamw_30e import *

from amflow_mm.datasets import FrozenFeatureDataset
from amflow_mm.engine.hooks import FlowStatisticsHook, FrozenFeatureHook

# Frozen features on disk ---------------------------------------------------------------------
keep_features = True  # compute the frozen model's tokens once and train on them from disk
kept_as = "int8"  # or "float16", twice the bytes, as training without the cache has them
num_draws = 1  # random crops and flips of each training video that are kept
max_gigabytes = 100  # of all kept features in cache_dir; a run that needs more says so and ends
cache_dir = "data/cache"  # all processes and machines of a run must reach it

model.cls_head.update(num_classes=31)
default_hooks.checkpoint.update(save_best="acc/mean1")
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
