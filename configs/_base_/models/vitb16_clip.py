"""AM Flow inside CLIP's ViT-B/16, every block; static camera, classes left to the experiment."""

from mmaction.models import ActionDataPreprocessor

from amflow_mm.models import AMFlow, AMFlowRecognizer, AMFlowViT, TemporalMeanHead
from amflow_mm.models.layers import TCNUnit, TemporalAdapter

model = dict(
    type=AMFlowRecognizer,
    # CLIP's own mean and deviation, times 255.
    data_preprocessor=dict(
        type=ActionDataPreprocessor,
        mean=[122.771, 116.746, 104.094],
        std=[68.501, 66.632, 70.323],
        format_shape="NCTHW",
    ),
    backbone=dict(
        type=AMFlowViT,
        variant="b16",
        family="clip",
        pretrained="checkpoints/ViT-B-16.pt",
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
