"""What data sets of labelled videos share: loaders and metrics; each adds lists and pipelines."""

from mmengine.dataset import DefaultSampler

from amflow_mm.datasets.packed_collate import packed_collate
from amflow_mm.datasets.video_list_dataset import VideoListDataset
from amflow_mm.engine import VideoAccuracy

train_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=True),
    collate_fn=dict(type=packed_collate),
    dataset=dict(type=VideoListDataset, on_error="skip"),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=packed_collate),
    dataset=dict(type=VideoListDataset, on_error="skip", test_mode=True),
)
# Several views of each video.
test_dataloader = dict(
    batch_size=2,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type=DefaultSampler, shuffle=False),
    collate_fn=dict(type=packed_collate),
    dataset=dict(type=VideoListDataset, on_error="skip", test_mode=True),
)

val_evaluator = dict(
    type=VideoAccuracy,
    metric_list=("top_k_accuracy", "mean_class_accuracy"),
    metric_options=dict(top_k_accuracy=dict(topk=(1, 5))),
)
test_evaluator = val_evaluator
