"""Toyota Smarthome, protocol CS: 8 frames spread over the video; test 1 clip x 3 crops.

The crops cover the whole width: cameras stand still and people act at the edge of the picture.
Its measure is the mean class accuracy; the other protocols replace the lists.
"""

from mmaction.datasets.transforms import (
    CenterCrop,
    Flip,
    FormatShape,
    PackActionInputs,
    RandomResizedCrop,
    Resize,
    ThreeCrop,
    UniformSample,
)
from mmengine.config import read_base

from amflow_mm.datasets.transforms import CachedClip, VideoDecode, VideoInit

with read_base():
    from .video_lists import *

data_help = "docs/datasets/smarthome.md"

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
    # At least half of the picture: a person is small in it.
    dict(type=RandomResizedCrop, area_range=(0.5, 1.0)),
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
    ann_file="data/smarthome/cs_train.txt",
    data_prefix=dict(video="data/smarthome/mp4"),
    pipeline=train_pipeline,
)
val_dataloader.dataset.update(
    ann_file="data/smarthome/cs_val.txt",
    data_prefix=dict(video="data/smarthome/mp4"),
    pipeline=val_pipeline,
)
test_dataloader.dataset.update(
    ann_file="data/smarthome/cs_test.txt",
    data_prefix=dict(video="data/smarthome/mp4"),
    pipeline=test_pipeline,
)
