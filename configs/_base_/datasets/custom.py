"""Videos of one's own at 112 x 112, 8 frames spread over each; the experiment sets the lists."""

from mmaction.datasets.transforms import (
    CenterCrop,
    Flip,
    FormatShape,
    PackActionInputs,
    RandomResizedCrop,
    Resize,
    UniformSample,
)
from mmengine.config import read_base

from amflow_mm.datasets.transforms import CachedClip, VideoDecode, VideoInit

with read_base():
    from .video_lists import *

data_help = "docs/datasets/custom.md"

train_pipeline = [
    dict(
        type=CachedClip,
        steps=[
            dict(type=VideoInit),
            dict(type=UniformSample, clip_len=8),
            dict(type=VideoDecode),
            dict(type=Resize, scale=(-1, 128)),
        ],
    ),
    dict(type=RandomResizedCrop, area_range=(0.5, 1.0)),
    dict(type=Resize, scale=(112, 112), keep_ratio=False),
    dict(type=Flip, flip_ratio=0.5),
    dict(type=FormatShape, input_format="NCTHW"),
    dict(type=PackActionInputs),
]
test_pipeline = [
    dict(
        type=CachedClip,
        steps=[
            dict(type=VideoInit),
            dict(type=UniformSample, clip_len=8, test_mode=True),
            dict(type=VideoDecode),
            dict(type=Resize, scale=(-1, 112)),
        ],
    ),
    dict(type=CenterCrop, crop_size=112),
    dict(type=FormatShape, input_format="NCTHW"),
    dict(type=PackActionInputs),
]

# No persistent workers: torch refuses them where there are none, and 0 is for the user to choose.
train_dataloader.pop("persistent_workers")
train_dataloader.update(
    num_workers=2,
    dataset=dict(
        ann_file="data/custom/train.txt",
        data_prefix=dict(video="data/custom/videos"),
        pipeline=train_pipeline,
    ),
)
val_dataloader.pop("persistent_workers")
val_dataloader.update(
    num_workers=2,
    dataset=dict(
        ann_file="data/custom/val.txt",
        data_prefix=dict(video="data/custom/videos"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
