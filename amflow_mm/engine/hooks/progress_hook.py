"""A progress bar with the remaining time, for those who watch."""

from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from amflow_mm.progress import ProgressBar
from amflow_mm.registry import HOOKS


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show one bar for the whole training and one for each validation or test.

    LoggerHook writes the same in its log lines; use this where those are kept rare
    (``default_hooks.logger.interval``), or bar and lines get into each other's way.
    """

    priority = "VERY_LOW"

    def __init__(self) -> None:
        self._training: ProgressBar | None = None
        self._evaluation: ProgressBar | None = None

    def before_train(self, runner: Runner) -> None:
        """Start the bar of the training; a resumed one starts where it stopped."""
        if is_main_process():
            self._training = ProgressBar(runner.max_iters, "training", start=runner.iter)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count an iteration."""
        del runner, batch_idx, data_batch, outputs
        if self._training is not None:
            self._training.advance()

    def after_train(self, runner: Runner) -> None:
        """End the bar of the training."""
        del runner
        if self._training is not None:
            self._training.close()

    def before_val_epoch(self, runner: Runner) -> None:
        """Start the bar of a validation."""
        self._start("validation", len(runner.val_dataloader))

    def before_test_epoch(self, runner: Runner) -> None:
        """Start the bar of a test."""
        self._start("test", len(runner.test_dataloader))

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count a batch."""
        del runner, batch_idx, data_batch, outputs
        if self._evaluation is not None:
            self._evaluation.advance()

    after_test_iter = after_val_iter

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """End the bar of a validation or test."""
        del runner, metrics
        if self._evaluation is not None:
            self._evaluation.close()

    after_test_epoch = after_val_epoch

    def _start(self, description: str, num_batches: int) -> None:
        if is_main_process():
            self._evaluation = ProgressBar(num_batches, description)
