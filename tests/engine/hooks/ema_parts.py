"""Hooks that look at weights and averages while a tiny experiment trains."""

from pathlib import Path

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from amflow_mm.engine.hooks import AMFlowEMAHook
from amflow_mm.registry import HOOKS


def snapshot(runner):
    """Copy the trained weights."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    parameters = model.named_parameters()
    return {name: p.detach().clone() for name, p in parameters if p.requires_grad}


@HOOKS.register_module()
class WatchHook(Hook):
    """Keep the weights after each iteration, and those that validation and test see."""

    priority = "LOWEST"

    def __init__(self):
        self.trained, self.seen = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.trained.append(snapshot(runner))

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append(snapshot(runner))

    before_test_iter = before_val_iter


@HOOKS.register_module()
class SaveEachRankHook(Hook):
    """Write the average that each process has at the end."""

    def after_train(self, runner):
        hook = next(hook for hook in runner.hooks if isinstance(hook, AMFlowEMAHook))
        state = hook.ema_model.state_dict()
        torch.save(state, Path(runner.work_dir) / f"average_{get_rank()}.pt")


@HOOKS.register_module()
class SaveInValidationHook(Hook):
    """Save while the weights are swapped, as a signal in a validation might."""

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        runner.save_checkpoint(runner.work_dir, "in_validation.pth", by_epoch=False)
