"""Kinetics-400: clips of 8 frames, one in 16; train 1 view, test 3 clips x 1 crop."""

from mmaction.datasets.transforms import (
    CenterCrop,
    Flip,
    FormatShape,
    PackActionInputs,
    RandomResizedCrop,
    Resize,
    SampleFrames,
)
from mmengine.config import read_base

from amflow_mm.datasets.transforms import CachedClip, VideoDecode, VideoInit

with read_base():
    from .video_lists import *

data_help = "docs/datasets/kinetics400.md"

train_pipeline = [
    dict(
        type=CachedClip,
        steps=[
            dict(type=VideoInit),
            dict(type=SampleFrames, clip_len=8, frame_interval=16, num_clips=1),
            dict(type=VideoDecode),
            dict(type=Resize, scale=(-1, 256)),
        ],
    ),
    dict(type=RandomResizedCrop),
    dict(type=Resize, scale=(224, 224), keep_ratio=False),
    dict(type=Flip, flip_ratio=0.5),
    dict(type=FormatShape, input_format="NCTHW"),
    dict(type=PackActionInputs),
]
val_pipeline = [
    dict(
        type=CachedClip,
        steps=[
            dict(type=VideoInit),
            dict(type=SampleFrames, clip_len=8, frame_interval=16, num_clips=1, test_mode=True),
            dict(type=VideoDecode),
            dict(type=Resize, scale=(-1, 256)),
        ],
    ),
    dict(type=CenterCrop, crop_size=224),
    dict(type=FormatShape, input_format="NCTHW"),
    dict(type=PackActionInputs),
]
test_pipeline = [
    dict(
        type=CachedClip,
        steps=[
            dict(type=VideoInit),
            dict(type=SampleFrames, clip_len=8, frame_interval=16, num_clips=3, test_mode=True),
            dict(type=VideoDecode),
            dict(type=Resize, scale=(-1, 256)),
        ],
    ),
    dict(type=CenterCrop, crop_size=224),
    dict(type=FormatShape, input_format="NCTHW"),
    dict(type=PackActionInputs),
]

train_dataloader.dataset.update(
    ann_file="data/kinetics400/kinetics400_train_list_videos.txt",
    data_prefix=dict(video="data/kinetics400/videos_train"),
    pipeline=train_pipeline,
)
val_dataloader.dataset.update(
    ann_file="data/kinetics400/kinetics400_val_list_videos.txt",
    data_prefix=dict(video="data/kinetics400/videos_val"),
    pipeline=val_pipeline,
)
test_dataloader.dataset.update(
    ann_file="data/kinetics400/kinetics400_val_list_videos.txt",
    data_prefix=dict(video="data/kinetics400/videos_val"),
    pipeline=test_pipeline,
)
