"""FiniteLossHook: end a training whose loss is no number, before its weights are none either."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import Dataset

from amflow_mm.engine.agreement import start_vote
from amflow_mm.engine.errors import UserError
from amflow_mm.registry import HOOKS


class NonFiniteLossError(UserError):
    """The loss is NaN or infinite."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stop all processes before the optimiser steps on a loss that is NaN or infinite.

    The message names the iteration, the clips of the batch and the last checkpoint. The loss is
    judged where it is made, and the judgement is waited for where the optimiser steps: by then a
    GPU has the backward pass queued, so it does not fall idle.
    """

    # Before whatever would log, average or save the iteration.
    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._loss: Tensor | None = None
        self._count: Callable[[], bool] | None = None
        self._batch: Any = None

    def before_train(self, runner: Runner) -> None:
        """Begin to watch the losses of the model and the steps of the optimiser."""
        self._loss = self._count = self._batch = None
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        optimizer = runner.optim_wrapper.optimizer
        # MMEngine calls no hook between the loss and the step, torch does.
        self._handles = [
            model.register_forward_hook(self._judge, with_kwargs=True),
            optimizer.register_step_pre_hook(lambda *_: self._require_finite(runner)),
        ]

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the batch at hand."""
        del runner, batch_idx
        self._batch = data_batch

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Look at what no step has looked at: gradients are still being added up."""
        del batch_idx, data_batch, outputs
        self._require_finite(runner)
        self._batch = None

    def after_train(self, runner: Runner) -> None:
        """Watch no more."""
        del runner
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _judge(self, model: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        del args
        if model.training and kwargs.get("mode") == "loss":
            self._loss = model.parse_losses(output)[0].detach()
            self._count = start_vote(~torch.isfinite(self._loss))

    def _require_finite(self, runner: Runner) -> None:
        if self._count is None or not self._count():
            self._count = None
            return
        own = (float(self._loss), batch_names(runner.train_dataloader.dataset, self._batch))
        raise NonFiniteLossError(_describe(runner, all_gather_object(own)))


def batch_names(dataset: Dataset, batch: Any) -> list[str]:
    """Name the clips of a batch by their files, or by their numbers where these have none."""
    samples = batch.get("data_samples") if isinstance(batch, Mapping) else None
    names = []
    for sample in samples or ():
        index = sample.metainfo.get("sample_index")
        info = {} if index is None else dataset.get_data_info(index)
        names.append(str(info.get("filename") or info.get("frame_dir") or f"clip {index}"))
    return names


def _describe(runner: Runner, found: Iterable[tuple[float, list[str]]]) -> str:
    """Write the message from the loss and the clips of each process."""
    culprits = [
        f"the loss is {loss} in {', '.join(names) or 'a batch without names'}"
        for loss, names in found
        if not math.isfinite(loss)
    ]
    last = runner.message_hub.runtime_info.get("last_ckpt")
    remedy = f"the last checkpoint is {last}" if last else "there is no checkpoint yet"
    return (
        f"iteration {runner.iter + 1}, epoch {runner.epoch + 1}: {'; '.join(culprits)}. The "
        f"weights have not taken this step, and {remedy}. Look at these clips, lower the learning "
        "rate or clip the gradients (optim_wrapper.clip_grad), then go on with --resume"
    )
