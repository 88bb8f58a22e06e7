"""PreemptionHook: end in good order when the cluster takes the machine away."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from amflow_mm.engine.agreement import start_vote
from amflow_mm.engine.checkpoint import LAST_CHECKPOINT
from amflow_mm.engine.checkpoint_io import write_text
from amflow_mm.registry import HOOKS

PREEMPTED_STATUS = 75
"""Exit status of a run that was told to stop and can be resumed: EX_TEMPFAIL of sysexits.h, "try
again later". Unlike 143, which a shell reports for SIGTERM, nothing but the hook leaves it."""

CHECKPOINT = "preempted.pth"
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


@HOOKS.register_module()
class PreemptionHook(Hook):
    """On SIGTERM or SIGUSR1 finish the iteration, save, and exit with status 75.

    ``train.py --resume`` goes on from there as if nothing had happened. One process that gets the
    signal is enough, all stop after the same iteration. A second signal ends a process at once; a
    checkpoint that it is writing then is not there, and the one before still is. A validation is
    finished first: if it is cut off, the resumed run repeats it.
    """

    # After all that an iteration does, such as saving a checkpoint of its own.
    priority = "LOWEST"

    def __init__(self) -> None:
        self._received: signal.Signals | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def before_train(self, runner: Runner) -> None:
        """Listen from now on; before, there is nothing to save."""
        self._received = None
        self._previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        for loader in _loaders(runner):
            loader.worker_init_fn = _ApartFromGroup(loader.worker_init_fn)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop here if any process was told to."""
        del batch_idx, data_batch, outputs
        # Costs a GPU nothing more: MMEngine has just waited for it to read the loss.
        is_told = torch.tensor(self._received is not None, device=get_device())
        if start_vote(is_told)():
            self._stop(runner)

    def after_train(self, runner: Runner) -> None:
        """Listen no more, and remove what an earlier stop has left."""
        self._put_back()
        note = Path(runner.work_dir) / LAST_CHECKPOINT
        if is_main_process() and note.is_file() and Path(note.read_text()).name != CHECKPOINT:
            note.with_name(CHECKPOINT).unlink(missing_ok=True)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._received = signal.Signals(number)
        self._put_back()  # so that the next one ends the process

    def _put_back(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _stop(self, runner: Runner) -> None:
        reason = self._received.name if self._received else "a signal to another process"
        path = Path(runner.work_dir) / CHECKPOINT
        meta = {"epoch": runner.epoch, "iter": runner.iter + 1}
        runner.save_checkpoint(str(path.parent), path.name, meta=meta, by_epoch=False)
        if is_main_process():
            write_text(str(path), path.with_name(LAST_CHECKPOINT))
        barrier()  # launchers signal the rest when the first process ends
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        runner.logger.warning(
            f"stopped by {reason} after iteration {runner.iter + 1}; {path} is written, --resume "
            f"goes on from it; exit status {PREEMPTED_STATUS}"
        )
        raise SystemExit(PREEMPTED_STATUS)


class _ApartFromGroup:
    """Start a data worker outside the process group of the training.

    What signals a whole group, such as Slurm, ``timeout`` or a terminal, would end the workers and
    with them the iteration that is to be finished. Workers end with their parent all the same.

    Args:
        init: What the worker does at its start anyway.
    """

    def __init__(self, init: Callable[[int], None] | None) -> None:
        self.init = init

    def __call__(self, worker: int) -> None:
        os.setpgid(0, 0)
        if self.init is not None:
            self.init(worker)


def _loaders(runner: Runner) -> list[Any]:
    loops = (runner.train_loop, runner.val_loop)
    return [loop.dataloader for loop in loops if loop is not None]
