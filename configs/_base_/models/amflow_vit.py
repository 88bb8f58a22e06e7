"""AM Flow inside a frozen image transformer, every block; static camera.

A file for each image model adds its weights, widths, mean and deviation; classes are left to the
experiment.
"""

from mmaction.models import ActionDataPreprocessor

from amflow_mm.models import AMFlow, AMFlowRecognizer, AMFlowViT, TemporalMeanHead
from amflow_mm.models.layers import TCNUnit, TemporalAdapter

model = dict(
    type=AMFlowRecognizer,
    data_preprocessor=dict(type=ActionDataPreprocessor, format_shape="NCTHW"),
    backbone=dict(type=AMFlowViT, adapter=dict(type=TemporalAdapter, unit=dict(type=TCNUnit))),
    neck=dict(type=AMFlow, normalize="column", aligner=None),
    cls_head=dict(type=TemporalMeanHead, dropout_ratio=0.5, topk=(1, 5), average_clips="prob"),
)
