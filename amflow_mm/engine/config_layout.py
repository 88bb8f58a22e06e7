"""What stands where in a config: the sections, the registry behind each, and their own keys.

Tables that ``config_check`` walks by; they restate what MMEngine's ``Runner`` does with a config.
"""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from mmaction.datasets import transforms
from mmaction.engine.hooks import VisualizationHook
from mmaction.visualization import ActionVisualizer
from mmengine.fileio import FileClient
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.model import ExponentialMovingAverage, MomentumAnnealingEMA, StochasticWeightAverage
from mmengine.registry import Registry
from mmengine.runner import Runner

from amflow_mm import registry as registries
from amflow_mm.engine.accepted_keys import accepted_keys

# Sections that are built: their registry, and the type that the Runner takes if they state none.
SECTIONS: dict[str, tuple[Registry, str | None]] = {
    "model": (registries.MODELS, None),
    "tta_model": (registries.MODELS, None),
    "data_preprocessor": (registries.MODELS, None),
    "model_wrapper_cfg": (registries.MODEL_WRAPPERS, "MMDistributedDataParallel"),
    "tta_pipeline": (registries.TRANSFORMS, None),
    "train_cfg": (registries.LOOPS, "EpochBasedTrainLoop"),
    "val_cfg": (registries.LOOPS, "ValLoop"),
    "test_cfg": (registries.LOOPS, "TestLoop"),
    "val_evaluator": (registries.METRICS, None),
    "test_evaluator": (registries.METRICS, None),
    "optim_wrapper": (registries.OPTIM_WRAPPERS, "OptimWrapper"),
    "param_scheduler": (registries.PARAM_SCHEDULERS, None),
    "default_hooks": (registries.HOOKS, None),
    "custom_hooks": (registries.HOOKS, None),
    "visualizer": (registries.VISUALIZERS, None),
    "log_processor": (registries.LOG_PROCESSORS, "LogProcessor"),
}
DATALOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")

# Sections that are read key by key.
PLAIN_SECTIONS: dict[str, frozenset[str]] = {
    "randomness": accepted_keys(Runner.set_randomness),
    "env_cfg": frozenset({"cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"}),
    "auto_scale_lr": frozenset({"enable", "base_batch_size"}),
    "custom_imports": frozenset({"imports", "allow_failed_imports"}),
}

# All keys that mean something at the top of a config.
TOP_KEYS = frozenset(
    {
        *inspect.signature(Runner.__init__).parameters,
        *SECTIONS,
        *DATALOADERS,
        *PLAIN_SECTIONS,
        "activation_checkpointing",
        "compile",
        "efficient_conv_bn_eval",
        "find_unused_parameters",
        "runner_type",
        "sync_bn",
    }
) - {"self", "cfg"}

# Variables of a file that tools read from the finished config.
READ_VARIABLES = frozenset({"classes_file", "data_help"})

# Arguments that hold something of another registry than the object that takes them.
ARGUMENTS: dict[str, Registry] = {
    "model": registries.MODELS,
    "data_preprocessor": registries.MODELS,
    "backbone": registries.MODELS,
    "neck": registries.MODELS,
    "init_cfg": registries.WEIGHT_INITIALIZERS,
    "dataset": registries.DATASETS,
    "datasets": registries.DATASETS,
    "pipeline": registries.TRANSFORMS,
    "transforms": registries.TRANSFORMS,
    "sampler": registries.DATA_SAMPLERS,
    "batch_sampler": registries.DATA_SAMPLERS,
    "collate_fn": registries.FUNCTIONS,
    "worker_init_fn": registries.FUNCTIONS,
    "optimizer": registries.OPTIMIZERS,
    "metrics": registries.METRICS,
    "vis_backends": registries.VISBACKENDS,
}
# Arguments whose `type`, if they have one, is no registered name: their owner reads it itself.
OPAQUE = frozenset({"clip_grad", "consensus", "fast_pathway", "override", "slow_pathway"})

# Keys beside a `type` that the builder takes away before the constructor sees the rest.
TAKEN_BY_ALL_BUILDERS = frozenset({"type", "_scope_", "_delete_"})
TAKEN_BY_BUILDER: dict[Registry, frozenset[str]] = {
    registries.HOOKS: frozenset({"priority"}),
    registries.LOOPS: frozenset({"by_epoch"}),
    registries.PARAM_SCHEDULERS: frozenset({"convert_to_iter_based"}),
    registries.OPTIM_WRAPPERS: frozenset({"optimizer", "constructor", "paramwise_cfg"}),
    registries.WEIGHT_INITIALIZERS: frozenset({"override"}),
    registries.MODELS: frozenset({"requires_grad"}),  # of a `norm_cfg`
}
TAKEN_FROM_DATALOADER = frozenset({"num_batch_per_epoch"})

DEFAULT_HOOKS = frozenset(
    {"runtime_info", "timer", "sampler_seed", "logger", "param_scheduler", "checkpoint"}
)
# What MMEngine's own constructor of the optimiser wrapper understands in `paramwise_cfg`.
PARAMWISE_KEYS = frozenset(
    {
        "bias_decay_mult",
        "bias_lr_mult",
        "bypass_duplicate",
        "custom_keys",
        "dcn_offset_lr_mult",
        "dwconv_decay_mult",
        "flat_decay_mult",
        "norm_decay_mult",
    }
)


def _keys_of_any(functions: Iterable[Callable[..., Any]]) -> frozenset[str]:
    """Unite the keys of all functions, those that may take any left out."""
    return frozenset().union(*(accepted_keys(function) or () for function in functions))


# Classes that keep their `**kwargs` for a later call, and what that call takes. A class that is
# not listed and keeps them may take any key.
_FILE_CLIENT_KEYS = _keys_of_any(FileClient._backends.values())
OPEN_KEYWORDS: dict[type, frozenset[str]] = {
    transforms.DecordInit: _FILE_CLIENT_KEYS,
    transforms.ImageDecode: _FILE_CLIENT_KEYS,
    transforms.OpenCVInit: _FILE_CLIENT_KEYS,
    transforms.PIMSInit: _FILE_CLIENT_KEYS,
    transforms.PyAVInit: _FILE_CLIENT_KEYS,
    transforms.RawFrameDecode: _FILE_CLIENT_KEYS,
    CheckpointHook: accepted_keys(Runner.save_checkpoint),
    EMAHook: _keys_of_any(
        (ExponentialMovingAverage, MomentumAnnealingEMA, StochasticWeightAverage)
    ),
    VisualizationHook: accepted_keys(ActionVisualizer.add_datasample),
}
