"""Generated motion clips, 112 x 112, 8 frames of 16, through the frozen model once."""

from mmaction.datasets.transforms import (
    FormatShape,
    PackActionInputs,
    Resize,
    SampleFrames,
)
from mmengine.dataset import DefaultSampler, pseudo_collate

from amflow_mm.datasets import FrozenFeatureDataset
from amflow_mm.datasets.transforms import VideoDecode, VideoInit
from amflow_mm.datasets.video_list_dataset import VideoListDataset
from amflow_mm.engine import VideoAccuracy

data_root = "data/motion"
data_help = "python tools/data/make_motion_clips.py --out data/motion"
classes_file = "data/motion/classes.txt"

pipeline = [
    dict(type=VideoInit),
    dict(type=SampleFrames, clip_len=8, frame_interval=2, num_clips=1, test_mode=True),
    dict(type=VideoDecode),
    dict(type=Resize, scale=(112, 112), keep_ratio=False),
    dict(type=FormatShape, input_format="NCTHW"),
    dict(type=PackActionInputs),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=FrozenFeatureDataset,
        cache_dir="data/cache",
        dataset=dict(
            type=VideoListDataset,
            ann_file="data/motion/train.txt",
            data_prefix=dict(video="data/motion"),
            pipeline=pipeline,
        ),
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=FrozenFeatureDataset,
        cache_dir="data/cache",
        dataset=dict(
            type=VideoListDataset,
            ann_file="data/motion/val.txt",
            data_prefix=dict(video="data/motion"),
            pipeline=pipeline,
            test_mode=True,
        ),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type=VideoAccuracy, metric_list=("top_k_accuracy", "mean_class_accuracy"))
test_evaluator = val_evaluator
