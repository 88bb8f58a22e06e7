"""What data sets of labelled videos share: loaders and metrics; each adds lists and pipelines."""

from mmaction.datasets import VideoDataset
from mmaction.evaluation import AccMetric
from mmengine.dataset import DefaultSampler, pseudo_collate

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(type=VideoDataset),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(type=VideoDataset, test_mode=True),
)
# Several views of each video.
test_dataloader = dict(
    batch_size=2,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=pseudo_collate),
    dataset=dict(type=VideoDataset, test_mode=True),
)

val_evaluator = dict(
    type=AccMetric,
    metric_list=("top_k_accuracy", "mean_class_accuracy"),
    metric_options=dict(top_k_accuracy=dict(topk=(1, 5))),
)
test_evaluator = val_evaluator
