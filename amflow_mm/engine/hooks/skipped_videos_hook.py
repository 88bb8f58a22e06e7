"""SkippedVideosHook: count and name videos that cannot be read, stop if they are too many."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from mmaction.evaluation import AccMetric, ConfusionMatrix
from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import DataLoader, Dataset

from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.datasets.skip_ledger import SKIPPED
from amflow_mm.engine.errors import UserError
from amflow_mm.engine.metrics import VideoAccuracy
from amflow_mm.registry import HOOKS

SKIPPED_FILE = "skipped_videos.txt"


class TooManySkippedError(UserError):
    """More videos cannot be read than the data set allows."""


@dataclass
class _Epoch:
    """What one process knows of an epoch.

    Args:
        name: For messages.
        num_listed: Videos of the data set.
        limit: Share of them that may be skipped.
        num_batches: Batches that every process has.
        advanced: Batches that this one has seen.
        seen: Samples that it has seen.
        skipped: Those of them that stand in for an unreadable video.
        paths: Files that could not be read.
    """

    name: str
    num_listed: int
    limit: float
    num_batches: int
    advanced: int = 0
    seen: int = 0
    skipped: int = 0
    paths: set[str] = field(default_factory=set)


@HOOKS.register_module()
class SkippedVideosHook(Hook):
    """Report what data sets with ``on_error="skip"`` have skipped; others cost nothing.

    Each file is logged once, with the reason, and listed in ``skipped_videos.txt`` of the work
    folder: path and reason, with a tab between. What stands there from an earlier run stays.

    All processes stop together as soon as an epoch has skipped more samples than
    ``max_skip_fraction`` of the whole list allows. A disk that is gone is noticed after that share
    of the epoch, and chance at its beginning stops nothing.

    Args:
        interval: Batches from one look at the other processes' counts to the next.
    """

    # Before LoggerHook and checkpoints.
    priority = "ABOVE_NORMAL"

    def __init__(self, interval: int = 20) -> None:
        if interval < 1:
            raise ValueError(f"interval={interval} must be at least 1 batch")
        self.interval = interval
        self._training: _Epoch | None = None
        self._evaluation: _Epoch | None = None
        self._reasons: dict[str, str] = {}
        """Of all files that all processes know of."""
        self._news: dict[str, str] = {}
        """What this process has not told the others yet."""

    def before_train(self, runner: Runner) -> None:
        """Refuse metrics that would spoil the first validation, before the first epoch."""
        if runner.val_loop is not None:
            _require_fit_metrics(runner.val_loop.dataloader, runner.val_loop.evaluator.metrics)

    def before_train_epoch(self, runner: Runner) -> None:
        """Begin to count."""
        self._training = _begin(runner.train_dataloader, _name_training(runner))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count; in a training by iterations an epoch is once through the loader."""
        del batch_idx, outputs
        self._advance(runner, self._training, data_batch)
        is_by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
        if is_by_iteration and (runner.iter + 1) % len(runner.train_dataloader) == 0:
            self._end(runner, self._training)
            self._training = _begin(runner.train_dataloader, _name_training(runner, done=1))

    def after_train_epoch(self, runner: Runner) -> None:
        """Report."""
        self._end(runner, self._training)

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin to count."""
        self._begin_evaluation(runner.val_loop, "validation")

    def before_test_epoch(self, runner: Runner) -> None:
        """Begin to count."""
        self._begin_evaluation(runner.test_loop, "test")

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Count."""
        del batch_idx, outputs
        self._advance(runner, self._evaluation, data_batch)

    after_test_iter = after_val_iter

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Report."""
        del metrics
        self._end(runner, self._evaluation)

    after_test_epoch = after_val_epoch

    def _begin_evaluation(self, loop: Any, name: str) -> None:
        _require_fit_metrics(loop.dataloader, loop.evaluator.metrics)
        self._evaluation = _begin(loop.dataloader, name)

    def _advance(self, runner: Runner, epoch: _Epoch | None, batch: Any) -> None:
        if epoch is None:
            return
        epoch.advanced += 1
        for skipped in _skipped_of(batch):
            epoch.seen += 1
            epoch.skipped += bool(skipped)
            epoch.paths |= skipped.keys()
            self._news |= {p: r for p, r in skipped.items() if p not in self._reasons}
        # A batch that some processes lack is counted at the end, where all of them meet.
        if epoch.advanced % self.interval == 0 and epoch.advanced <= epoch.num_batches:
            self._look(runner, epoch)

    def _end(self, runner: Runner, epoch: _Epoch | None) -> None:
        if epoch is None:
            return
        seen, skipped = self._look(runner, epoch)
        if not seen:  # a training by iterations has ended with an epoch
            return
        paths = set().union(*all_gather_object(epoch.paths)) if skipped else set()
        runner.logger.info(
            f"{epoch.name}: {skipped} of {seen} samples skipped; unreadable files: {len(paths)}"
        )

    def _look(self, runner: Runner, epoch: _Epoch) -> tuple[int, int]:
        """Add up the counts of all processes; returns samples and skipped samples."""
        counts = torch.tensor([epoch.seen, epoch.skipped, len(self._news)])
        all_reduce(counts)
        seen, skipped, num_news = counts.tolist()
        if num_news:
            self._tell(runner)
        if skipped > epoch.limit * epoch.num_listed:
            raise TooManySkippedError(
                f"{epoch.name}: {skipped} of {seen} samples so far are skipped, more than "
                f"max_skip_fraction={epoch.limit:g} of the list ({epoch.num_listed}) allows; look "
                f"whether the disk is there, and at {Path(runner.work_dir) / SKIPPED_FILE}. "
                "Repair these files, take them out of the list or raise max_skip_fraction of the "
                "data set; a training then goes on with --resume"
            )
        return seen, skipped

    def _tell(self, runner: Runner) -> None:
        """Share the news, log them and add them to the file."""
        news: dict[str, str] = {}
        for part in all_gather_object(self._news):
            news = part | news
        self._news = {}
        self._reasons |= news
        if is_main_process():
            for path, reason in news.items():
                runner.logger.warning(f"skipped from now on: {path}: {reason}")
            add_to_list(Path(runner.work_dir) / SKIPPED_FILE, news)


def add_to_list(path: Path, reasons: Mapping[str, str]) -> None:
    """Add files to a list of path and reason, sorted by path."""
    known = {}
    if path.exists():
        known = dict(line.split("\t", 1) for line in path.read_text("utf-8").splitlines())
    known |= {name: " ".join(reason.split()) for name, reason in reasons.items()}
    with atomic_path(path) as partial:
        text = "".join(f"{name}\t{known[name]}\n" for name in sorted(known))
        partial.write_text(text, encoding="utf-8")


def _begin(loader: DataLoader, name: str) -> _Epoch | None:
    """Return the count of an epoch, None where nothing is skipped."""
    limits = list(_limits(loader.dataset))
    if not limits:
        return None
    num_batches = torch.tensor(len(loader))
    all_reduce(num_batches, op="min")
    return _Epoch(name, len(loader.dataset), min(limits), int(num_batches))


def _limits(dataset: Dataset) -> Iterator[float]:
    """Yield ``max_skip_fraction`` of the data sets inside one that skip."""
    if getattr(dataset, "on_error", "raise") == "skip":
        yield dataset.max_skip_fraction
        return
    parts = [getattr(dataset, name, None) for name in ("dataset", "_dataset", "videos")]
    for part in (*parts, *getattr(dataset, "datasets", ())):
        if part is not None:
            yield from _limits(part)


def _skipped_of(batch: Any) -> Iterator[dict[str, str]]:
    samples = batch.get("data_samples") if isinstance(batch, Mapping) else None
    for sample in samples or ():
        yield sample.metainfo.get(SKIPPED, {})


def _name_training(runner: Runner, done: int = 0) -> str:
    """Name the epoch that begins, ``done`` iterations after the runner's count."""
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        return f"training from iteration {runner.iter + 1 + done} on"
    return f"training, epoch {runner.epoch + 1}"


def _require_fit_metrics(loader: DataLoader, metrics: Iterable[Any]) -> None:
    """Refuse metrics that count a stand-in as the video that it replaces."""
    if not list(_limits(loader.dataset)):
        return
    for metric in metrics:
        is_host = isinstance(metric, (AccMetric, ConfusionMatrix))
        if is_host and not isinstance(metric, VideoAccuracy):
            raise UserError(
                f"{type(metric).__name__} counts what stands in for unreadable videos; use "
                "VideoAccuracy, or on_error='raise' where a data set is validated or tested"
            )
