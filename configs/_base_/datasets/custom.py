"""Videos of one's own at 112 x 112, 8 frames spread over each; the experiment sets the lists."""

from mmaction.datasets import VideoDataset
from mmaction.datasets.transforms import (
    CenterCrop,
    DecordDecode,
    DecordInit,
    Flip,
    FormatShape,
    PackActionInputs,
    RandomResizedCrop,
    Resize,
    UniformSample,
)
from mmaction.evaluation import AccMetric
from mmengine.dataset import DefaultSampler, pseudo_collate

data_help = "docs/data.md, section Your own videos"

train_pipeline = [
    dict(type=DecordInit, num_threads=1),
    dict(type=UniformSample, clip_len=8),
    dict(type=DecordDecode),
    dict(type=Resize, scale=(-1, 128)),
    dict(type=RandomResizedCrop, area_range=(0.5, 1.0)),
    dict(type=Resize, scale=(112, 112), keep_ratio=False),
    dict(type=Flip, flip_ratio=0.5),
    dict(type=FormatShape, input_format="NCTHW"),
    dict(type=PackActionInputs),
]
test_pipeline = [
    dict(type=DecordInit, num_threads=1),
    dict(type=UniformSample, clip_len=8, test_mode=True),
    dict(type=DecordDecode),
    dict(type=Resize, scale=(-1, 112)),
    dict(type=CenterCrop, crop_size=112),
    dict(type=FormatShape, input_format="NCTHW"),
    dict(type=PackActionInputs),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=VideoDataset,
        ann_file="data/custom/train.txt",
        data_prefix=dict(video="data/custom/videos"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=2,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(
        type=VideoDataset,
        ann_file="data/custom/val.txt",
        data_prefix=dict(video="data/custom/videos"),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(
    type=AccMetric,
    metric_list=("top_k_accuracy", "mean_class_accuracy"),
    metric_options=dict(top_k_accuracy=dict(topk=(1, 5))),
)
test_evaluator = val_evaluator
