"""Runner, hooks, log: what every experiment shares."""

from mmaction.visualization import ActionVisualizer
from mmengine.hooks import DistSamplerSeedHook, IterTimerHook, LoggerHook, ParamSchedulerHook
from mmengine.runner import LogProcessor
from mmengine.visualization import LocalVisBackend

from amflow_mm.engine import AMFlowRunner
from amflow_mm.engine.hooks import (
    AMFlowCheckpointHook,
    FiniteLossHook,
    ParameterReportHook,
    PreemptionHook,
    SkippedVideosHook,
)

default_scope = "amflow_mm"
runner_type = AMFlowRunner

default_hooks = dict(
    timer=dict(type=IterTimerHook),
    logger=dict(type=LoggerHook, interval=20, ignore_last=False),
    param_scheduler=dict(type=ParamSchedulerHook),
    checkpoint=dict(type=AMFlowCheckpointHook, interval=1, max_keep_ckpts=3, save_best="acc/top1"),
    sampler_seed=dict(type=DistSamplerSeedHook),
)
custom_hooks = [
    dict(type=ParameterReportHook),
    dict(type=FiniteLossHook),
    dict(type=PreemptionHook),
    dict(type=SkippedVideosHook),
]

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
log_processor = dict(type=LogProcessor, window_size=20, by_epoch=True)
# TensorBoard (requirements/optional.txt), in an experiment:
# visualizer.vis_backends.append(dict(type="TensorboardVisBackend"))
vis_backends = [dict(type=LocalVisBackend)]
visualizer = dict(type=ActionVisualizer, vis_backends=vis_backends)

log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=0, deterministic=False)
