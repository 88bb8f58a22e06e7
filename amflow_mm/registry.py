"""The registries: children of MMAction2's, so that its names and ours resolve without a prefix.

Every registry that a ``Runner`` builds from has a child here, also where the package registers
nothing of its own: under ``default_scope = "amflow_mm"`` MMEngine warns at each build from a
registry without a child of that scope, and then no longer finds MMAction2's names. A child does
not import the modules of its parent; therefore ``locations`` list MMAction2's package first. Ours
follows as a string, imported at the first look-up: levels above this one are not imported here.
"""

from mmaction import registry as host
from mmengine.registry import Registry


def _child(parent: Registry, *locations: str) -> Registry:
    """Make a child of a registry of MMAction2 that imports ``locations`` on the first look-up."""
    return Registry(parent.name, parent=parent, scope="amflow_mm", locations=list(locations))


# Recognizers, backbones, necks, heads, preprocessors, and the layers that a config may name.
MODELS = _child(host.MODELS, "mmaction.models", "amflow_mm.models")
# Containers around a model: distributed data parallel, averaging.
MODEL_WRAPPERS = _child(host.MODEL_WRAPPERS, "mmaction.models", "amflow_mm.models")
# Rules behind `init_cfg`.
WEIGHT_INITIALIZERS = _child(host.WEIGHT_INITIALIZERS, "mmaction.models", "amflow_mm.models")

# Sources of samples: videos, frames, cached tokens.
DATASETS = _child(host.DATASETS, "amflow_mm.datasets.registered")
# Order in which samples are drawn.
DATA_SAMPLERS = _child(host.DATA_SAMPLERS, "amflow_mm.datasets.registered", "amflow_mm.engine")
# Steps of a pipeline: decoding, sampling, augmentation, packing.
TRANSFORMS = _child(host.TRANSFORMS, "amflow_mm.datasets.registered")
# Functions named by a config, such as `collate_fn`.
FUNCTIONS = _child(host.FUNCTION, "amflow_mm.datasets.registered")

# Scores of predictions.
METRICS = _child(host.METRICS, "mmaction.evaluation", "amflow_mm.engine")
# Groups of metrics.
EVALUATOR = _child(host.EVALUATOR, "mmaction.evaluation", "amflow_mm.engine")

# Runners, their training, validation and test loops, and the hooks within.
RUNNERS = _child(host.RUNNERS, "mmaction.engine.runner", "amflow_mm.engine")
LOOPS = _child(host.LOOPS, "mmaction.engine.runner", "amflow_mm.engine")
HOOKS = _child(host.HOOKS, "mmaction.engine.hooks", "amflow_mm.engine")
# What the log shows.
LOG_PROCESSORS = _child(host.LOG_PROCESSORS, "mmaction.engine", "amflow_mm.engine")

# Optimisers, the wrappers that step them, and the constructors that group their parameters.
OPTIMIZERS = _child(host.OPTIMIZERS, "mmaction.engine.optimizers", "amflow_mm.engine")
OPTIM_WRAPPERS = _child(host.OPTIM_WRAPPERS, "mmaction.engine.optimizers", "amflow_mm.engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    host.OPTIM_WRAPPER_CONSTRUCTORS, "mmaction.engine.optimizers", "amflow_mm.engine"
)
# Schedules of learning rate and momentum.
PARAM_SCHEDULERS = _child(host.PARAM_SCHEDULERS, "mmaction.engine", "amflow_mm.engine")

# Pictures, and the back ends that store them.
VISUALIZERS = _child(host.VISUALIZERS, "mmaction.visualization")
VISBACKENDS = _child(host.VISBACKENDS, "mmaction.visualization")
