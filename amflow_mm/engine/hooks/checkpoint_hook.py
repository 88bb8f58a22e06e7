"""When checkpoints are saved and removed; a run that is killed loses none that it had."""

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from amflow_mm.datasets.storage import is_remote
from amflow_mm.engine.checkpoint import LAST_CHECKPOINT
from amflow_mm.engine.checkpoint_io import remove_unfinished, write_text
from amflow_mm.engine.frozen_identity import frozen_tensors
from amflow_mm.engine.runner import AMFlowRunner
from amflow_mm.registry import HOOKS

Rule = Literal["greater", "less"]


@HOOKS.register_module()
class AMFlowCheckpointHook(CheckpointHook):
    """Save what is trained, and never remove a checkpoint before its successor stands.

    Differences from MMEngine's:

    - the frozen weights of the image model are left out where ``pretrained`` brings them back;
    - old and superseded best checkpoints are removed after the new one is written, not before;
    - the note of the newest checkpoint is written atomically.

    It needs AMFlowRunner, which writes the checkpoints themselves.

    Args:
        interval: Epochs or iterations from one checkpoint to the next; -1 is never.
        save_frozen: Whether to save the frozen weights too, for a file that needs no other.
        by_epoch: Whether ``interval`` counts epochs.
        save_optimizer: Whether to save what resuming needs of the optimiser.
        save_param_scheduler: Whether to save what resuming needs of the schedules.
        out_dir: Folder in which a folder of the run's name is made; ``None`` is the work folder.
        max_keep_ckpts: Checkpoints to keep; -1 is all.
        save_last: Whether to save at the end of training, whatever the interval.
        save_best: Metrics by which the best checkpoint is kept; ``"auto"`` is the first one.
        rule: Which value of a metric is better; ``None`` is guessed from its name.
        greater_keys: Names of metrics of which more is better; ``None`` is MMEngine's.
        less_keys: Names of metrics of which less is better; ``None`` is MMEngine's.
        filename_tmpl: Name with ``{}`` for the step; ``None`` is ``epoch_{}.pth`` or
            ``iter_{}.pth``.
        backend_args: Storage that holds ``out_dir``, for MMEngine's file back ends.
        save_begin: Epoch or iteration before which nothing is saved.
    """

    def __init__(
        self,
        interval: int = -1,
        *,
        save_frozen: bool = False,
        by_epoch: bool = True,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        out_dir: str | None = None,
        max_keep_ckpts: int = -1,
        save_last: bool = True,
        save_best: str | list[str] | None = None,
        rule: Rule | list[Rule] | None = None,
        greater_keys: Sequence[str] | None = None,
        less_keys: Sequence[str] | None = None,
        filename_tmpl: str | None = None,
        backend_args: dict[str, Any] | None = None,
        save_begin: int = 0,
    ) -> None:
        super().__init__(
            interval,
            by_epoch,
            save_optimizer,
            save_param_scheduler,
            out_dir,
            max_keep_ckpts,
            save_last,
            save_best,
            rule,
            greater_keys=greater_keys,
            less_keys=less_keys,
            filename_tmpl=filename_tmpl,
            backend_args=backend_args,
            save_begin=save_begin,
        )
        self.save_frozen = save_frozen
        self._told = ""

    def before_train(self, runner: Runner) -> None:
        """Find the folder, and clear away what a killed run has left half-written.

        Raises:
            TypeError: The runner is not ours.
        """
        if not isinstance(runner, AMFlowRunner):
            raise TypeError(
                f"AMFlowCheckpointHook works with AMFlowRunner, not {type(runner).__name__}: set "
                "runner_type = AMFlowRunner, or take MMEngine's CheckpointHook"
            )
        super().before_train(runner)
        if is_main_process() and not is_remote(self.out_dir):
            for path in remove_unfinished(self.out_dir):
                runner.logger.info(f"Removed {path}, which a run left half-written")

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Leave out the frozen weights if the config's ``pretrained`` brings them back."""
        if self.save_frozen:
            return
        reason = runner.frozen_part.why_not_restorable()
        if reason is None:
            for name in frozen_tensors(runner.unwrapped_model):
                checkpoint["state_dict"].pop(name, None)
        elif reason != self._told:
            self._told = reason
            runner.logger.info(f"Checkpoints hold the frozen weights too: {reason}")

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        """Save, note it, then remove the oldest; MMEngine removes first."""
        kept = list(self.keep_ckpt_ids) if self.max_keep_ckpts > 0 else []
        if self.max_keep_ckpts > 0 and step not in kept[-1:]:
            kept.append(step)
            # With the one to be removed: if the run is killed before that, the resumed one sees
            # one too many and removes it.
            runner.message_hub.update_info("keep_ckpt_ids", kept)
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
        )
        if is_main_process():
            write_text(self.last_ckpt, Path(runner.work_dir) / LAST_CHECKPOINT)
        if self.max_keep_ckpts > 0:
            for old in kept[: -self.max_keep_ckpts]:
                old_name = self.filename_tmpl.format(old)
                self._remove(self.file_backend.join_path(self.out_dir, old_name))
            self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)
            runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))

    def _save_best_checkpoint(self, runner: Runner, metrics: Mapping[str, float]) -> None:
        """Save a new best one, then remove the one before; MMEngine removes first."""
        if not self.save_best:
            return
        before = self._best_paths
        self._best_paths = [None] * len(before)  # what the base does not know it does not remove
        super()._save_best_checkpoint(runner, metrics)
        after = self._best_paths
        self._best_paths = [new or old for new, old in zip(after, before, strict=True)]
        for new, old in zip(after, before, strict=True):
            if new and old and new != old:
                self._remove(old)
                runner.logger.info(f"The previous best checkpoint {old} is removed")

    @property
    def _best_paths(self) -> list[str | None]:
        """Path of the best checkpoint by each metric; the base keeps one apart from several."""
        if len(self.key_indicators) == 1:
            return [self.best_ckpt_path]
        return [self.best_ckpt_path_dict.get(name) for name in self.key_indicators]

    @_best_paths.setter
    def _best_paths(self, paths: list[str | None]) -> None:
        if len(self.key_indicators) == 1:
            (self.best_ckpt_path,) = paths
        else:
            self.best_ckpt_path_dict = dict(zip(self.key_indicators, paths, strict=True))

    def _remove(self, path: str) -> None:
        if is_main_process() and self.file_backend.isfile(path):
            self.file_backend.remove(path)
