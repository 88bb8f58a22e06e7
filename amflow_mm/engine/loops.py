"""Training loops that go on after any iteration, wherever the checkpoint was written.

MMEngine's loop by epochs resumes at the beginning of an epoch only, and its loop by iterations
reads and throws away every batch that was trained on before. Neither makes up for a validation
that was due when the run was cut off. These two leave out what was seen without reading it, and
begin with the validation that is owed; otherwise they are MMEngine's.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.logging import MessageHub
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch import nn
from torch.utils.data import BatchSampler, DataLoader

from amflow_mm.engine.seeding import SampleKeySampler
from amflow_mm.registry import LOOPS

BATCHES_OF_EPOCH = "batches_of_epoch"
"""Entry of the message hub, hence of checkpoints: batches of the present epoch that were seen."""
VALIDATED_ITER = "validated_iter"
"""Entry of the message hub: iterations that the last validated weights had been trained for."""


def batches_after(loader: DataLoader, num_seen: int) -> Iterator[Any]:
    """Return the batches of a loader without the first ones.

    A batch that is left out is not read, unless the loader has a batch sampler or a sampler of
    the user's own, whose batches cannot be told apart from outside.
    """
    sampler = loader.sampler
    if isinstance(sampler, SampleKeySampler) and type(loader.batch_sampler) is BatchSampler:
        sampler.skip(num_seen * loader.batch_size)
        return iter(loader)
    batches = iter(loader)
    for _ in range(num_seen):
        next(batches)
    return batches


def resumable_loop(loop: Any) -> Any:
    """Return the config of a loop with MMEngine's two replaced by those of this module."""
    if not isinstance(loop, Mapping):
        return loop
    loop = dict(loop)
    if "type" not in loop:
        return {"type": EpochLoop if loop.pop("by_epoch") else IterationLoop, **loop}
    kind = LOOPS.get(loop["type"]) if isinstance(loop["type"], str) else loop["type"]
    replaced = {EpochBasedTrainLoop: EpochLoop, IterBasedTrainLoop: IterationLoop}
    return {**loop, "type": replaced.get(kind, loop["type"])}


class _OwedValidation:
    """What both loops know about validation."""

    def validate(self) -> None:
        """Validate, and note for what, so that a checkpoint written from now on tells it."""
        _hub(self).update_info(VALIDATED_ITER, self._iter)
        self.runner.val_loop.run()

    def validate_if_owed(self) -> None:
        """Make up for the validation that was due when the checkpoint had just been written."""
        self._decide_current_val_interval()
        if self._iter and self.is_validation_due() and _info(self, VALIDATED_ITER) != self._iter:
            self.validate()


@LOOPS.register_module()
class EpochLoop(_OwedValidation, EpochBasedTrainLoop):
    """MMEngine's loop by epochs; resumes in the middle of an epoch too."""

    def run(self) -> nn.Module:
        """Train; begin where the checkpoint was written."""
        self.runner.call_hook("before_train")
        if not _info(self, BATCHES_OF_EPOCH):
            self.validate_if_owed()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            if self.is_validation_due():
                self.validate()
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """Train on the batches of the epoch that have not been seen yet."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        num_seen = self._num_seen()
        for idx, batch in enumerate(batches_after(self.dataloader, num_seen), start=num_seen):
            self.run_iter(idx, batch)
        _hub(self).update_info(BATCHES_OF_EPOCH, 0)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Train on a batch; a checkpoint of this iteration tells how far the epoch has come."""
        _hub(self).update_info(BATCHES_OF_EPOCH, idx + 1)
        super().run_iter(idx, data_batch)

    def is_validation_due(self) -> bool:
        """Tell whether the weights at the end of this epoch are to be validated."""
        return (
            self.runner.val_loop is not None
            and self._epoch >= self.val_begin
            and (self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs)
        )

    def _num_seen(self) -> int:
        """Count the batches of this epoch that the run being resumed has trained on."""
        num_seen = _info(self, BATCHES_OF_EPOCH) or 0
        if num_seen and self._epoch * len(self.dataloader) + num_seen != self._iter:
            self.runner.logger.warning(
                f"the checkpoint was written after {num_seen} batches of epoch {self._epoch + 1}, "
                f"iteration {self._iter}, where an epoch had another number of batches than now "
                f"({len(self.dataloader)}); the epoch starts over"
            )
            return 0
        return num_seen


@LOOPS.register_module()
class IterationLoop(_OwedValidation, IterBasedTrainLoop):
    """MMEngine's loop by iterations; starts to read when it knows where.

    Args:
        runner: Runner that trains.
        dataloader: Loader of the training clips, or its config.
        max_iters: Iterations of the whole training.
        val_begin: Iteration from which on to validate.
        val_interval: Iterations from one validation to the next.
        dynamic_intervals: Iterations from which on another interval holds, and that interval.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | dict,
        max_iters: int,
        *,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        # MMEngine's own constructor starts the workers on the first batches, seen or not.
        BaseLoop.__init__(self, runner, dataloader)
        if int(max_iters) != max_iters:
            raise ValueError(f"max_iters={max_iters} must be a whole number")
        self._max_iters, self._max_epochs = int(max_iters), 1
        self._iter = self._epoch = 0
        self.val_begin = val_begin
        self.val_interval = val_interval
        self.stop_training = False  # set by MMEngine's EarlyStoppingHook
        metainfo = getattr(self.dataloader.dataset, "metainfo", None)
        self.runner.visualizer.dataset_meta = metainfo
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(
            val_interval, dynamic_intervals
        )

    def run(self) -> nn.Module:
        """Train; begin where the checkpoint was written."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self.validate_if_owed()
        batches = self._batches()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(batches))
            self._decide_current_val_interval()
            if self.is_validation_due():
                self.validate()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def is_validation_due(self) -> bool:
        """Tell whether the weights after this iteration are to be validated."""
        return (
            self.runner.val_loop is not None
            and self._iter >= self.val_begin
            and (self._iter % self.val_interval == 0 or self._iter == self._max_iters)
        )

    def _batches(self) -> Iterator[Any]:
        """Yield batches without end, lap after lap of the data set."""
        sampler = self.dataloader.sampler
        lap, num_seen = divmod(self._iter, len(self.dataloader))
        if isinstance(sampler, SampleKeySampler) and sampler.is_endless:
            lap, num_seen = 0, self._iter
        while True:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(lap)
            yield from batches_after(self.dataloader, num_seen)
            lap, num_seen = lap + 1, 0


def _hub(loop: BaseLoop) -> MessageHub:
    return loop.runner.message_hub


def _info(loop: BaseLoop, name: str) -> Any:
    """Return an entry of the message hub; None where a checkpoint knows of none."""
    return _hub(loop).runtime_info.get(name)
