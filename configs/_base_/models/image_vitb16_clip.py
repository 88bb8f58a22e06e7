"""CLIP's ViT-B/16 alone, frame by frame and frozen; peers replace its type, classes come later."""

from mmaction.models import ActionDataPreprocessor

from amflow_mm.models import AMFlowRecognizer, ImageViT, TemporalMeanHead

model = dict(
    type=AMFlowRecognizer,
    # CLIP's own mean and deviation, times 255.
    data_preprocessor=dict(
        type=ActionDataPreprocessor,
        mean=[122.771, 116.746, 104.094],
        std=[68.501, 66.632, 70.323],
        format_shape="NCTHW",
    ),
    backbone=dict(type=ImageViT, variant="b16", family="clip", pretrained="clip-vit-b16-openai"),
    neck=None,
    cls_head=dict(
        type=TemporalMeanHead,
        in_channels=768,
        dropout_ratio=0.5,
        topk=(1, 5),
        average_clips="prob",
    ),
)
