"""Moving average of the trained weights, without a second copy of the frozen model."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage, is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from amflow_mm.engine.errors import CheckpointError
from amflow_mm.registry import HOOKS

PREFIX = "module."
"""What MMEngine puts before the names of averaged weights."""


def trained_tree(model: nn.Module) -> nn.Module:
    """Return the tree of a model's modules that holds its trained parameters and no other.

    The parameters are the model's own, not copies, under the same names.
    """
    tree = nn.Module()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        *path, own_name = name.split(".")
        module = tree
        for child in path:
            if not hasattr(module, child):
                module.add_module(child, nn.Module())
            module = getattr(module, child)
        module.register_parameter(own_name, parameter)
    return tree


@HOOKS.register_module()
class AMFlowEMAHook(EMAHook):
    """Exponential moving average of the trained parameters, for validation, test and release.

    As MMEngine's EMAHook, average ← (1 - momentum) · average + momentum · weights, with the same
    entries in a checkpoint: ``state_dict`` holds the average, ``ema_state_dict`` the weights that
    training goes on from. Differences:

    - the frozen parameters are not copied, so it costs as much memory as what is trained;
    - the average moves with each step of the optimiser, not with each iteration, so that
      accumulated gradients do not shorten its memory;
    - before the first step there is no average, where MMEngine's validates and saves a copy made
      before the weights were loaded;
    - what does not fit on resuming raises, and saving while the weights are swapped is right too.

    Args:
        momentum: Share of the new weights in each step.
        interval: Steps of the optimiser from one update of the average to the next.
        begin_iter: Iteration from which on to average, counted from 1; 0 is the first too.
        begin_epoch: Epoch from which on to average, counted from 1; excludes ``begin_iter``.
    """

    def __init__(
        self,
        momentum: float = 0.0002,
        *,
        interval: int = 1,
        begin_iter: int = 0,
        begin_epoch: int = 0,
    ) -> None:
        if not 0 < momentum < 1:
            raise ValueError(
                f"momentum={momentum} must be between 0 and 1: it is the share of the new weights "
                "in the average, such as 0.0002"
            )
        if interval < 1:
            raise ValueError(f"interval={interval} must be at least 1 step of the optimiser")
        for name, value in (("begin_iter", begin_iter), ("begin_epoch", begin_epoch)):
            if value < 0:
                raise ValueError(f"{name}={value} must not be negative")
        if begin_iter and begin_epoch:
            raise ValueError(
                f"begin_iter={begin_iter} and begin_epoch={begin_epoch} exclude each other"
            )
        super().__init__(begin_iter=begin_iter, begin_epoch=begin_epoch)
        self.momentum = momentum
        self.interval = interval
        self._is_swapped = False

    def before_run(self, runner: Runner) -> None:
        """Set up an average of as many tensors as are trained."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.src_model = trained_tree(model)
        self.ema_model = ExponentialMovingAverage(
            self.src_model, momentum=self.momentum, interval=self.interval
        )
        self._is_swapped = False

    def before_train(self, runner: Runner) -> None:
        """Check that the average begins before the training ends.

        Raises:
            ValueError: It does not.
        """
        for name, begin, last in (
            ("begin_epoch", self.begin_epoch, runner.max_epochs),
            ("begin_iter", self.begin_iter, runner.max_iters),
        ):
            if begin > last:
                raise ValueError(
                    f"{name}={begin} must be at most {last}, where the training ends (a loop by "
                    "iterations has one epoch)"
                )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Let the average move if the optimiser has moved the weights."""
        del batch_idx, data_batch, outputs
        if self._ema_started(runner) and runner.optim_wrapper.should_update():
            self.ema_model.update_parameters(self.src_model)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put the average into ``state_dict`` and the weights into ``ema_state_dict``."""
        del runner
        state = {"steps": self.ema_model.steps.clone()}
        if self.ema_model.steps:
            trained, average = self.src_model, self.ema_model.module
            if self._is_swapped:  # for instance saved by a signal during a validation
                trained, average = average, trained
            state |= {PREFIX + name: value.cpu() for name, value in _entries(trained)}
            checkpoint["state_dict"].update({k: v.cpu() for k, v in _entries(average)})
        checkpoint["ema_state_dict"] = state

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """On resuming, take the average over and hand the trained weights to the model.

        Raises:
            CheckpointError: The average is of another set of weights.
        """
        if not runner._resume:
            return
        state = checkpoint.get("ema_state_dict")
        if state is None:
            runner.logger.warning(
                "the checkpoint holds no moving average (ema_state_dict); a new one begins with "
                "the next step"
            )
            return
        self.ema_model.steps.copy_(state["steps"])
        if not self.ema_model.steps:
            return
        average, trained = {}, {}
        for name, own in _entries(self.ema_model.module):
            average[name] = _require(checkpoint["state_dict"], name, own.shape)
            trained[name] = _require(state, PREFIX + name, own.shape)
        self.ema_model.module.load_state_dict(average)
        checkpoint["state_dict"].update(trained)

    def _swap_ema_parameters(self) -> None:
        """Swap weights and average, around each validation and test; without one, do nothing."""
        if self.ema_model.steps:
            super()._swap_ema_parameters()
            self._is_swapped = not self._is_swapped


def _entries(tree: nn.Module) -> list[tuple[str, Tensor]]:
    return [(name, parameter.detach()) for name, parameter in tree.named_parameters()]


def _require(weights: Mapping[str, Tensor], name: str, shape: torch.Size) -> Tensor:
    found = weights.get(name)
    if found is None or found.shape != shape:
        raise CheckpointError(
            f"the moving average of the checkpoint does not fit: {name} is "
            f"{'missing' if found is None else tuple(found.shape)}, expected {tuple(shape)}; "
            "resume with the config that it was trained with"
        )
    return found
