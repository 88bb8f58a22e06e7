"""MMEngine's Runner, with what it gets wrong put right."""

import copy
import functools
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import is_distributed, is_main_process, master_only
from mmengine.fileio import join_path
from mmengine.model import is_model_wrapper
from mmengine.optim import _ParamScheduler
from mmengine.runner import Runner
from mmengine.runner.base_loop import BaseLoop
from torch import nn
from torch.utils.data import DataLoader

from amflow_mm.engine.checkpoint import (
    left_out_names,
    load_strictly,
    read_checkpoint,
    require_file,
    resolve_resume,
    strip_wrapper,
)
from amflow_mm.engine.config_check import check_config
from amflow_mm.engine.distributed import init_cpu_processes, runs_on_cpu
from amflow_mm.engine.frozen_identity import FrozenPart, unavailable
from amflow_mm.engine.loops import resumable_loop
from amflow_mm.engine.partial_gradients import (
    PARTIAL_GRADIENTS,
    gather_partial_gradients,
    restore_partial_gradients,
)
from amflow_mm.engine.reproducibility import collect_run_record, write_json
from amflow_mm.engine.run_state import collect_run_state, store_checkpoint
from amflow_mm.engine.seeding import IterationSeedHook, build_seeded_dataloader
from amflow_mm.registry import HOOKS, RUNNERS

RUN_RECORD = "run.json"

SCHEDULE_PROGRESS = ("last_step", "_global_step", "_last_value", "base_values")
"""What of a scheduler's state is its progress; the rest are its settings."""


@RUNNERS.register_module()
class AMFlowRunner(Runner):
    """A Runner that checks before it builds, loads strictly, and resumes exactly.

    Differences from MMEngine's:

    - a misspelt key of the config raises before anything is built;
    - a checkpoint that does not fit raises instead of being loaded in part;
    - checkpoints are written atomically and may leave out the frozen model (``FrozenPart``);
    - resuming without a checkpoint raises instead of training from scratch, and a resumed run
      repeats the uninterrupted one (``seeding``);
    - several processes train on a machine without a GPU;
    - ``run.json`` in the work folder tells how to repeat the run.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> "AMFlowRunner":
        """Check a config and build a runner from it.

        Raises:
            ConfigError: A key is unknown.
            MissingFileError: There is nothing to resume, or ``load_from`` does not exist.
        """
        cfg = copy.deepcopy(cfg) if isinstance(cfg, Config) else Config(copy.deepcopy(cfg))
        check_config(cfg)
        if cfg.get("resume"):
            resolve_resume(cfg)
        elif cfg.get("load_from"):
            require_file(cfg.load_from, "checkpoint")
        return super().from_cfg(cfg)

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a loader whose samples are seeded one by one (``seeding``).

        With a GPU it pins what it loads, unless its config says otherwise.
        """
        if isinstance(dataloader, dict):
            dataloader = {"pin_memory": torch.cuda.is_available(), **dataloader}
        if seed is None or not isinstance(dataloader, dict):
            return Runner.build_dataloader(dataloader, seed, diff_rank_seed)
        return build_seeded_dataloader(dataloader, seed, diff_rank_seed=diff_rank_seed)

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the loop of the training; it goes on after any iteration (``loops``)."""
        return super().build_train_loop(resumable_loop(loop))

    def setup_env(self, env_cfg: dict) -> None:
        """Set up processes; without a GPU they speak over gloo."""
        if self.distributed and not is_distributed() and runs_on_cpu():
            init_cpu_processes(self.launcher)
        super().setup_env(env_cfg)

    def set_randomness(
        self, seed: int | None, diff_rank_seed: bool = False, deterministic: bool = False
    ) -> None:
        """Seed everything; cuBLAS wants its own word before it can be deterministic."""
        if deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        super().set_randomness(seed, diff_rank_seed, deterministic)

    def wrap_model(self, model_wrapper_cfg: dict | None, model: nn.Module) -> nn.Module:
        """Wrap the model for several processes; on the CPU it has no device index."""
        if self.distributed and model_wrapper_cfg is None and runs_on_cpu():
            model_wrapper_cfg = {"type": "MMDistributedDataParallel", "device_ids": None}
        return super().wrap_model(model_wrapper_cfg, model)

    def register_hooks(
        self, default_hooks: dict | None = None, custom_hooks: list | None = None
    ) -> None:
        """Register the config's hooks, our checkpoints by default, and the seed of iterations."""
        hooks = dict(default_hooks or {})
        if "checkpoint" not in hooks:
            hooks["checkpoint"] = HOOKS.build({"type": "AMFlowCheckpointHook", "interval": 1})
        super().register_hooks(hooks, custom_hooks)
        self.register_hook(IterationSeedHook())

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Resume, and tell where the checkpoint's schedule replaces the config's.

        Schedulers are restored with their settings, so a longer ``max_epochs`` alone does not
        stretch them.
        """
        built = [_settings(scheduler) for scheduler in self.param_schedulers or []]
        super().resume(filename, *args, **kwargs)
        for scheduler, asked in zip(self.param_schedulers or [], built, strict=True):
            found = _settings(scheduler)
            changed = [key for key in found if found[key] != asked[key]]
            if changed:
                self.logger.warning(
                    f"{type(scheduler).__name__} goes on with "
                    f"{', '.join(f'{key}={found[key]}' for key in changed)} of the checkpoint, "
                    f"instead of {', '.join(f'{key}={asked[key]}' for key in changed)}"
                )

    def save_checkpoint(
        self,
        out_dir: str,
        filename: str,
        file_client_args: None = None,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        meta: dict[str, Any] | None = None,
        by_epoch: bool = True,
        backend_args: dict[str, Any] | None = None,
    ) -> None:
        """Save the run; the hooks decide which weights go in. Every process must take part.

        Args:
            out_dir: Folder.
            filename: Name inside it.
            file_client_args: Not offered; ``backend_args`` is its successor.
            save_optimizer: Whether to include what the optimiser has gathered.
            save_param_scheduler: Whether to include the schedules.
            meta: ``epoch`` and ``iter`` that are done; by default as at the end of an epoch.
            by_epoch: Whether to save as at the end of an epoch, or of an iteration.
            backend_args: Storage that holds ``out_dir``, for MMEngine's file back ends.

        Raises:
            CheckpointError: The disk does not take it; what stood under the name is unharmed.
        """
        if file_client_args is not None:
            raise ValueError("file_client_args is not offered; use backend_args")
        gradients = None
        if save_optimizer:
            gradients = gather_partial_gradients(self.unwrapped_model, self.optim_wrapper)
        if not is_main_process():
            return
        done = {"epoch": self.epoch + by_epoch, "iter": self.iter + (not by_epoch)}
        checkpoint = collect_run_state(
            self,
            self.unwrapped_model,
            {**done, **(meta or {})},
            save_optimizer=save_optimizer,
            save_param_scheduler=save_param_scheduler,
        )
        if gradients:
            checkpoint[PARTIAL_GRADIENTS] = gradients
        self.call_hook("before_save_checkpoint", checkpoint=checkpoint)
        checkpoint["frozen"] = self.frozen_part.record(checkpoint["state_dict"])
        path = join_path(out_dir, filename, backend_args=backend_args)
        store_checkpoint(checkpoint, path, backend_args)

    def load_checkpoint(
        self,
        filename: str,
        map_location: Any = "cpu",
        strict: bool = True,
        revise_keys: tuple[tuple[str, str], ...] = ((r"^module\.", ""),),
    ) -> dict[str, Any]:
        """Load weights that fit exactly; returns the checkpoint.

        A checkpoint without the frozen image model is loaded beside the very same one.

        Raises:
            CheckpointError: Keys, shapes or the frozen image model differ.
            ValueError: ``strict=False`` was asked for.
        """
        if not strict:
            raise ValueError(
                "strict=False is not offered: weights that fit in part load without a word; "
                "convert them to the model's keys first"
            )
        checkpoint = read_checkpoint(filename, map_location=map_location)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        weights = strip_wrapper(checkpoint.get("state_dict", checkpoint), revise_keys)
        source = f"checkpoint {filename}"
        left_out = left_out_names(checkpoint, weights)
        if left_out:
            self._provide_frozen(checkpoint["frozen"], source)
            self.frozen_part.require(checkpoint["frozen"], left_out, source)
        load_strictly(self.unwrapped_model, weights, source, held=left_out)
        if self._resume and PARTIAL_GRADIENTS in checkpoint:
            restore_partial_gradients(self.unwrapped_model, checkpoint[PARTIAL_GRADIENTS])
            self.logger.info(
                "Resumed the gradients that were being accumulated; MMEngine warns of their loss "
                "all the same"
            )
        self._has_loaded = True
        self.logger.info(f"Loaded {source}")
        return checkpoint

    def _provide_frozen(self, recorded: dict[str, Any], source: str) -> None:
        """Load the frozen image model, unless training has done so; MMEngine's test does not."""
        if self.frozen_part.is_initialized or self.frozen_part.source is None:
            return
        try:
            self._init_model_weights()
        except (OSError, ValueError, RuntimeError) as error:
            raise unavailable(recorded, self.frozen_part.source, source, error) from error

    def _init_model_weights(self) -> None:
        super()._init_model_weights()
        self.frozen_part.note_initialized()

    @functools.cached_property
    def frozen_part(self) -> FrozenPart:
        """The frozen image model inside the model."""
        return FrozenPart(self.unwrapped_model)

    @property
    def unwrapped_model(self) -> nn.Module:
        """The model without the wrapper for several processes."""
        return self.model.module if is_model_wrapper(self.model) else self.model

    @master_only
    def dump_config(self) -> None:
        """Write the resolved config beside the log.

        MMEngine writes it into the work folder, where a test would replace what training left.
        """
        self.cfg.dump(Path(self.log_dir) / self._config_name)

    @property
    def _config_name(self) -> str:
        return Path(self.cfg.filename).name if self.cfg.filename else "config.py"

    def train(self) -> nn.Module:
        """Write the record of the run, then train."""
        self._record_run()
        return super().train()

    @master_only
    def _record_run(self) -> None:
        """Write config and record beside the checkpoints, and the record beside the log too."""
        resolved_config = Path(self.work_dir) / self._config_name
        self.cfg.dump(resolved_config)
        record = collect_run_record(self.cfg) | {
            "resolved_config": str(resolved_config),
            "seed": self.seed,
            "deterministic": self.deterministic,
            "world_size": self.world_size,
            "resumed_from": self._load_from if self._resume else None,
            "loaded_from": None if self._resume else self._load_from,
        }
        write_json(Path(self.work_dir) / RUN_RECORD, record)
        write_json(Path(self.log_dir) / RUN_RECORD, record)


def _settings(scheduler: _ParamScheduler) -> dict[str, Any]:
    state = scheduler.state_dict()
    return {key: value for key, value in state.items() if key not in SCHEDULE_PROGRESS}
