"""What is told and checked while a model trains."""

from amflow_mm.engine.hooks.checkpoint_hook import AMFlowCheckpointHook
from amflow_mm.engine.hooks.ema_hook import AMFlowEMAHook
from amflow_mm.engine.hooks.finite_loss_hook import FiniteLossHook
from amflow_mm.engine.hooks.flow_statistics_hook import FlowStatisticsHook
from amflow_mm.engine.hooks.frozen_feature_hook import FrozenFeatureHook
from amflow_mm.engine.hooks.parameter_report_hook import ParameterReportHook
from amflow_mm.engine.hooks.preemption_hook import PreemptionHook
from amflow_mm.engine.hooks.progress_hook import ProgressHook
from amflow_mm.engine.hooks.skipped_videos_hook import SkippedVideosHook

__all__ = [
    "AMFlowCheckpointHook",
    "AMFlowEMAHook",
    "FiniteLossHook",
    "FlowStatisticsHook",
    "FrozenFeatureHook",
    "ParameterReportHook",
    "PreemptionHook",
    "ProgressHook",
    "SkippedVideosHook",
]
