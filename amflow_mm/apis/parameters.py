"""What the model of a config takes in training and in checkpoints, without data or weights."""

from dataclasses import asdict
from typing import Any

from mmengine.config import Config

from amflow_mm.apis.complexity import build_on_meta
from amflow_mm.engine.parameter_sizes import ModuleSizes, ParameterSizes, measure_parameters


def measure_config(cfg: Config, *, depth: int = 3) -> ParameterSizes:
    """Measure the model of a config on the meta device; weights files need not be there.

    Args:
        cfg: Config with ``model``.
        depth: Names that a module's path is cut to, numbers not counted.
    """
    return measure_parameters(build_on_meta(cfg), depth=depth)


def to_record(config: str, sizes: ParameterSizes) -> dict[str, Any]:
    """Return all figures for JSON: numbers of parameters and values, and bytes."""
    return {
        "config": config,
        "optimizer": "AdamW",
        "modules": {name: _to_dict(part) for name, part in sizes.modules.items()},
        "total": _to_dict(sizes.total),
    }


def _to_dict(sizes: ModuleSizes) -> dict[str, int]:
    return asdict(sizes) | {
        "training_bytes": sizes.training_bytes,
        "checkpoint_bytes": sizes.checkpoint_bytes,
        "full_checkpoint_bytes": sizes.full_checkpoint_bytes,
    }
