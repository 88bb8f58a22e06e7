"""AM Flow inside DINOv2's ViT-B/14, every block; static camera, classes left to the experiment."""

from mmaction.models import ActionDataPreprocessor

from amflow_mm.models import AMFlow, AMFlowRecognizer, AMFlowViT, TemporalMeanHead
from amflow_mm.models.layers import TCNUnit, TemporalAdapter

model = dict(
    type=AMFlowRecognizer,
    # ImageNet's mean and deviation, times 255.
    data_preprocessor=dict(
        type=ActionDataPreprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape="NCTHW",
    ),
    backbone=dict(
        type=AMFlowViT,
        variant="b14",
        family="dinov2",
        pretrained="checkpoints/dinov2_vitb14_pretrain.pth",
        adapter=dict(type=TemporalAdapter, bottleneck_dim=192, unit=dict(type=TCNUnit)),
    ),
    neck=dict(type=AMFlow, normalize="column", aligner=None),
    cls_head=dict(
        type=TemporalMeanHead,
        in_channels=768,
        dropout_ratio=0.5,
        topk=(1, 5),
        average_clips="prob",
    ),
)
