"""Something-Something v2: 8 frames spread over the video; train 1 view, test 1 clip x 3 crops.

No flips: left and right are classes. RandAugment comes from torchvision (requirements/optional.txt)
and draws the same operations for all frames of a clip; magnitude 7 of 10, 4 operations.
"""

from mmaction.datasets.transforms import (
    CenterCrop,
    FormatShape,
    PackActionInputs,
    RandomResizedCrop,
    Resize,
    ThreeCrop,
    TorchVisionWrapper,
    UniformSample,
)
from mmaction.datasets.transforms.processing import RandomErasing  # not among the exports
from mmengine.config import read_base

from amflow_mm.datasets.transforms import CachedClip, VideoDecode, VideoInit

with read_base():
    from .video_lists import *

data_help = "docs/datasets/ssv2.md"

train_pipeline = [
    dict(
        type=CachedClip,
        steps=[
            dict(type=VideoInit),
            dict(type=UniformSample, clip_len=8),
            dict(type=VideoDecode),
            dict(type=Resize, scale=(-1, 256)),
        ],
    ),
    dict(type=TorchVisionWrapper, op="RandAugment", num_ops=4, magnitude=7, num_magnitude_bins=11),
    dict(type=RandomResizedCrop),
    dict(type=Resize, scale=(224, 224), keep_ratio=False),
    dict(type=RandomErasing, erase_prob=0.25, mode="rand"),
    dict(type=FormatShape, input_format="NCTHW"),
    dict(type=PackActionInputs),
]
val_pipeline = [
    dict(
        type=CachedClip,
        steps=[
            dict(type=VideoInit),
            dict(type=UniformSample, clip_len=8, test_mode=True),
            dict(type=VideoDecode),
            dict(type=Resize, scale=(-1, 224)),
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
            dict(type=UniformSample, clip_len=8, test_mode=True),
            dict(type=VideoDecode),
            dict(type=Resize, scale=(-1, 224)),
        ],
    ),
    dict(type=ThreeCrop, crop_size=224),
    dict(type=FormatShape, input_format="NCTHW"),
    dict(type=PackActionInputs),
]

train_dataloader.dataset.update(
    ann_file="data/sthv2/sthv2_train_list_videos.txt",
    data_prefix=dict(video="data/sthv2/videos"),
    pipeline=train_pipeline,
)
val_dataloader.dataset.update(
    ann_file="data/sthv2/sthv2_val_list_videos.txt",
    data_prefix=dict(video="data/sthv2/videos"),
    pipeline=val_pipeline,
)
test_dataloader.dataset.update(
    ann_file="data/sthv2/sthv2_val_list_videos.txt",
    data_prefix=dict(video="data/sthv2/videos"),
    pipeline=test_pipeline,
)
