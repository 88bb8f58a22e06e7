"""What goes around the model: checks, launching, checkpoints, hooks, parameter groups."""

from amflow_mm.engine.class_report import PredictionCollector
from amflow_mm.engine.config_check import ConfigError, check_config
from amflow_mm.engine.errors import UserError
from amflow_mm.engine.hooks import FlowStatisticsHook, ParameterReportHook, ProgressHook
from amflow_mm.engine.metrics import VideoAccuracy
from amflow_mm.engine.optim import AutocastOptimWrapper, TrainableOptimWrapperConstructor
from amflow_mm.engine.runner import AMFlowRunner

__all__ = [
    "AMFlowRunner",
    "AutocastOptimWrapper",
    "ConfigError",
    "FlowStatisticsHook",
    "ParameterReportHook",
    "PredictionCollector",
    "ProgressHook",
    "TrainableOptimWrapperConstructor",
    "UserError",
    "VideoAccuracy",
    "check_config",
]
