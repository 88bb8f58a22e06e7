"""From a command line to a runner: what tools/train.py and tools/test.py have in common."""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.runner import Runner

from amflow_mm.engine.checkpoint import resolve_resume
from amflow_mm.engine.config_check import check_config
from amflow_mm.engine.config_file import read_config
from amflow_mm.engine.config_layout import READ_VARIABLES, TOP_KEYS
from amflow_mm.engine.data_check import check_data, check_weights
from amflow_mm.engine.errors import UserError
from amflow_mm.engine.runner import AMFlowRunner
from amflow_mm.registry import RUNNERS

AUTOCAST = "amflow_mm.engine.optim.AutocastOptimWrapper"
LOSS_SCALED = "mmengine.optim.AmpOptimWrapper"


@dataclass(frozen=True)
class TrainOptions:
    """Flags of tools/train.py, as they change a config.

    Args:
        resume: None, ``auto`` for the newest checkpoint of the work folder, or a path. The seed
            is then the checkpoint's; another ``seed`` is an error.
        amp: Train in mixed precision.
        validate: Validate while training.
        auto_scale_lr: Scale the learning rate by batch size over ``base_batch_size``.
        seed: Seed of the run; None leaves the config's, or takes a random one.
        deterministic: Use deterministic algorithms only.
    """

    resume: str | None = None
    amp: bool = False
    validate: bool = True
    auto_scale_lr: bool = False
    seed: int | None = None
    deterministic: bool = False


def load_config(path: str, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file and override some of its keys.

    Args:
        path: Config file.
        options: Dotted keys and their values.

    Raises:
        MissingFileError: There is no such file.
        UserError: It is no config, or an option would change nothing.
        ConfigError: It cannot be parsed, or imports what does not exist.
    """
    cfg = read_config(path)
    if options:
        _check_options(options)
        cfg.merge_from_dict(copy.deepcopy(dict(options)))  # the merge eats `_delete_` keys
    cfg.setdefault("default_scope", "amflow_mm")
    return cfg


def _check_options(options: Mapping[str, Any]) -> None:
    """Refuse to set a variable of the file: what it served for was made when the file was read."""
    for key in options:
        name = key.partition(".")[0]
        if name not in TOP_KEYS | READ_VARIABLES:
            raise UserError(
                f"--cfg-options {key} would change nothing: {name!r} is no section of a config, "
                "and a variable of the file was read with the file; name the key that is meant, "
                "such as model.cls_head.num_classes, or edit the file"
            )


def set_run(cfg: Config, *, work_dir: str | None, launcher: str, local_rank: int) -> None:
    """Set where results go and how processes were started.

    The folder is the one asked for, else the config's, else ./work_dirs/<name of the config>.
    """
    default = Path("work_dirs") / Path(cfg.filename).stem
    cfg.work_dir = work_dir or cfg.get("work_dir") or str(default)
    cfg.launcher = launcher
    os.environ.setdefault("LOCAL_RANK", str(local_rank))


def set_train_options(cfg: Config, options: TrainOptions) -> None:
    """Put the flags of tools/train.py into a config.

    Raises:
        UserError: The config does not support a flag.
    """
    if not options.validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if options.amp:
        _set_mixed_precision(cfg)
    if options.auto_scale_lr:
        if not (cfg.get("auto_scale_lr") or {}).get("base_batch_size"):
            raise UserError(
                "--auto-scale-lr needs auto_scale_lr.base_batch_size in the config: the batch "
                "size that its learning rate was chosen for"
            )
        cfg.auto_scale_lr.enable = True
    if options.resume is not None:
        cfg.resume = True
        cfg.load_from = None if options.resume == "auto" else options.resume
    randomness = dict(cfg.get("randomness") or {})
    if options.seed is not None or options.resume is not None:
        # A run that is resumed brings its seed along, whatever the config's default.
        randomness["seed"] = options.seed
    if options.deterministic:
        randomness["deterministic"] = True
    cfg.randomness = {"seed": None, **randomness}


def _set_mixed_precision(cfg: Config) -> None:
    """Switch to mixed precision: bfloat16, or scaled float16 on GPUs that lack it."""
    kind = cfg.optim_wrapper.get("type", "OptimWrapper")
    name = kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
    if name == "AmpOptimWrapper":
        return
    if name not in ("OptimWrapper", "AutocastOptimWrapper"):
        raise UserError(f"--amp does not know how to change optim_wrapper.type={name}")
    cfg.optim_wrapper.pop("where", None)
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        cfg.optim_wrapper.update(type=LOSS_SCALED, dtype="float16", loss_scale="dynamic")
    else:
        cfg.optim_wrapper.update(type=AUTOCAST, where="anywhere")


def check_before_building(cfg: Config, loaders: Sequence[str]) -> None:
    """Find out what a run would stumble over, in seconds and before it takes a GPU.

    Args:
        cfg: Config with all flags applied.
        loaders: Names of the loaders that the run uses, the indispensable one first.

    Raises:
        ConfigError: A key is unknown.
        UserError: A loader or a file is missing, an annotation cannot be used, or there is
            nothing to resume.
    """
    check_config(cfg)
    if cfg.get(loaders[0]) is None:
        raise UserError(f"{cfg.filename} has no {loaders[0]}")
    check_data(cfg, loaders)
    if "train_dataloader" in loaders:  # a test may find all weights in its checkpoint
        check_weights(cfg)
    if cfg.get("resume"):
        resolve_resume(cfg)


def build_runner(cfg: Config) -> Runner:
    """Build the runner that a config asks for, ours by default."""
    return RUNNERS.build(cfg) if "runner_type" in cfg else AMFlowRunner.from_cfg(cfg)
