"""What a checkpoint holds of a run: weights, optimiser, schedule, history and where it stands.

MMEngine's ``Runner.save_checkpoint`` collects and writes in one piece; here the writing is ours
(``checkpoint_io``), and the hooks may leave out weights before they are copied from the GPU.
"""

import time
from typing import Any

import mmengine
import torch
from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.runner import Runner, save_checkpoint
from mmengine.utils import apply_to
from torch import nn

from amflow_mm import __version__
from amflow_mm.engine.checkpoint_io import write_checkpoint
from amflow_mm.engine.migration import CHECKPOINT_FORMAT


def collect_run_state(
    runner: Runner,
    model: nn.Module,
    meta: dict[str, Any],
    *,
    save_optimizer: bool,
    save_param_scheduler: bool,
) -> dict[str, Any]:
    """Return all entries of a checkpoint but the identity of the frozen model.

    Tensors stay where they are and are the run's own, not copies.

    Args:
        runner: The run.
        model: Its model without a parallel wrapper.
        meta: Where the run stands.
        save_optimizer: Whether to include what the optimiser has gathered.
        save_param_scheduler: Whether to include the schedules, if there are any.
    """
    checkpoint = {
        "format": CHECKPOINT_FORMAT,
        "meta": {
            **meta,
            "cfg": runner.cfg.pretty_text,
            "seed": runner.seed,
            "experiment_name": runner.experiment_name,
            "time": time.strftime("%Y%m%d_%H%M%S"),
            "amflow_mm_version": __version__,
            "mmengine_version": mmengine.__version__,
        },
        "state_dict": dict(model.state_dict()),
        "message_hub": runner.message_hub.state_dict(),
    }
    dataset = runner.train_dataloader.dataset
    if hasattr(dataset, "metainfo"):
        checkpoint["meta"]["dataset_meta"] = dataset.metainfo
    if save_optimizer:
        checkpoint["optimizer"] = runner.optim_wrapper.state_dict()
    schedulers = runner.param_schedulers
    if save_param_scheduler and isinstance(schedulers, dict):
        checkpoint["param_schedulers"] = {
            name: [scheduler.state_dict() for scheduler in group]
            for name, group in schedulers.items()
        }
    elif save_param_scheduler and schedulers is not None:
        checkpoint["param_schedulers"] = [scheduler.state_dict() for scheduler in schedulers]
    return checkpoint


def store_checkpoint(
    checkpoint: dict[str, Any], path: str, backend_args: dict[str, Any] | None
) -> None:
    """Write a checkpoint: atomically to a disk, as MMEngine does to its remote storages.

    Raises:
        CheckpointError: A disk does not take it.
    """
    checkpoint = apply_to(checkpoint, torch.is_tensor, lambda tensor: tensor.cpu())
    if isinstance(get_file_backend(path, backend_args=backend_args), LocalBackend):
        write_checkpoint(checkpoint, path)
    else:
        save_checkpoint(checkpoint, path, backend_args=backend_args)
