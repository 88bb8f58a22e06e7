"""Side ladder beside CLIP's ViT-B/16; static camera, classes left to the experiment.

A file for each image model: mean, deviation, weights, width.
"""

from amflow_mm.models import (
    AMFlow,
    AMFlowRecognizer,
    AMFlowSideViT,
    FrozenFeaturePreprocessor,
    TemporalMeanHead,
)
from amflow_mm.models.layers import TCNUnit

model = dict(
    type=AMFlowRecognizer,
    # CLIP's own mean and deviation, times 255.
    data_preprocessor=dict(
        type=FrozenFeaturePreprocessor,
        mean=(122.771, 116.746, 104.094),
        std=(68.501, 66.632, 70.323),
        format_shape="NCTHW",
    ),
    backbone=dict(
        type=AMFlowSideViT,
        variant="b16",
        family="clip",
        pretrained="clip-vit-b16-openai",
        layers=(2, 5, 8, 11),
        side_dim=192,
        unit=dict(type=TCNUnit),
        pooling="token",
        num_frames=8,
        output="sum",
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
