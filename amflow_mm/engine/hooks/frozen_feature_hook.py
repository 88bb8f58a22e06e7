"""FrozenFeatureHook: compute the frozen features of a dataset once, then serve them from disk."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from mmengine.dist import (
    barrier,
    broadcast_object_list,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch.utils.data import DataLoader, Dataset, Subset

from amflow_mm.datasets import FrozenFeatureDataset
from amflow_mm.engine.feature_budget import FeatureBudget, describe_bytes
from amflow_mm.engine.kept_features import KeptFeatures
from amflow_mm.progress import ProgressBar
from amflow_mm.registry import HOOKS

ROUNDS_BETWEEN_BARRIERS = 16
"""Batches of a process after which it waits for the others, who else might wait for it at the end
for longer than the time limit of a process group, 10 minutes between GPUs."""


class _Draws(Dataset):
    """Rows of a dataset as (row, sample): what the frozen model is still to see."""

    def __init__(self, dataset: FrozenFeatureDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return self.dataset.num_rows

    def __getitem__(self, row: int) -> tuple[int, dict[str, Any]]:
        return row, self.dataset.draw(row)


@HOOKS.register_module()
class FrozenFeatureHook(Hook):
    """Fill the stores of every ``FrozenFeatureDataset`` before training, validation and test.

    Tokens are kept by frozen weights, backbone and data; the flow by the neck's options too, so
    that another neck reuses the tokens. Several processes share the work; all must reach the same
    ``cache_dir``. A killed run goes on where it stopped.

    Args:
        batch_size: Videos that pass the frozen model at once, in each process.
        num_workers: Processes that decode, beside each process.
        kept_as: Of the tokens, which are nearly all there is: ``"float16"``, as training without
            the cache has them, or ``"int8"``, half the bytes, each value within half a 254th of
            its channel's range in the clip. Each form has stores of its own.
        max_gigabytes: Limit of all features in a ``cache_dir`` together, those of other runs
            too, in 1e9 bytes; None for none. A run that would exceed it ends before it has
            written anything.
    """

    priority = "VERY_HIGH"

    def __init__(
        self,
        *,
        batch_size: int = 8,
        num_workers: int = 1,
        kept_as: Literal["float16", "int8"] = "float16",
        max_gigabytes: float | None = None,
    ) -> None:
        if kept_as not in ("float16", "int8"):
            raise ValueError(f"kept_as={kept_as!r} must be one of 'float16', 'int8'")
        if max_gigabytes is not None and not max_gigabytes > 0:
            raise ValueError(
                f"max_gigabytes={max_gigabytes} must be > 0: it limits what may be kept; for no "
                "limit take None, and to keep nothing the video dataset without "
                "FrozenFeatureDataset"
            )
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.kept_as = kept_as
        self.max_gigabytes = max_gigabytes

    def before_train(self, runner: Any) -> None:
        """Prepare training and validation."""
        datasets = {"training": runner.train_dataloader.dataset}
        if runner.val_loop is not None:
            datasets["validation"] = runner.val_loop.dataloader.dataset
        self._prepare(runner, datasets)

    def before_val(self, runner: Any) -> None:
        """Prepare validation on its own."""
        self._prepare(runner, {"validation": runner.val_loop.dataloader.dataset})

    def before_test(self, runner: Any) -> None:
        """Prepare the test."""
        self._prepare(runner, {"test": runner.test_loop.dataloader.dataset})

    def _prepare(self, runner: Any, datasets: Mapping[str, Dataset]) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        parts = [
            KeptFeatures(name, dataset, model, self.kept_as)
            for name, dataset in datasets.items()
            if isinstance(dataset, FrozenFeatureDataset) and not dataset.is_attached
        ]
        if not parts:
            return
        self._check_room(runner, parts)
        for part in parts:
            # Of one process: another may look when the first has begun to write.
            missing = [part.missing_rows()]
            broadcast_object_list(missing)
            if missing[0]:
                self._fill(part, missing[0])
            barrier()
            for store in part.stores:
                store.reopen()
            if is_main_process():
                size = describe_bytes(sum(store.num_bytes() for store in part.stores))
                runner.logger.info(
                    f"frozen features, {part.name}: {size} in {part.dataset.cache_dir}"
                )
            part.attach()

    def _check_room(self, runner: Any, parts: list[KeptFeatures]) -> None:
        """Tell what is to come, and raise in every process if it is too much."""
        complaint = [None]
        if is_main_process():
            incomplete = [part for part in parts if part.missing_rows()]
            budget = FeatureBudget(
                incomplete, kept_as=self.kept_as, max_gigabytes=self.max_gigabytes
            )
            for line in budget.lines():
                runner.logger.info(line)
            complaint = [budget.complaint()]
        broadcast_object_list(complaint)
        if complaint[0] is not None:
            raise ValueError(complaint[0])

    def _fill(self, part: KeptFeatures, missing: list[int]) -> None:
        """Compute this process's share of the missing rows, in step with the others."""
        num_processes = get_world_size()
        loader = DataLoader(
            Subset(_Draws(part.dataset), missing[get_rank() :: num_processes]),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=list,
        )
        description = f"frozen features, {part.name}"
        progress = _SharedProgress(part.dataset.num_rows, len(missing), description)
        batches = iter(loader)
        # As many rounds in every process; the last shares may be a batch shorter, or empty.
        for number in range(math.ceil(len(missing) / (num_processes * self.batch_size))):
            if number % ROUNDS_BETWEEN_BARRIERS == 0:
                barrier()
            batch = next(batches, [])
            if batch:
                part.keep(batch)
            progress.advance(len(batch))
        progress.close()


class _SharedProgress:
    """The bar of the first process, which speaks for all: their shares are as large as its own."""

    def __init__(self, num_rows: int, num_missing: int, description: str) -> None:
        self.bar: ProgressBar | None = None
        if is_main_process():
            self.bar = ProgressBar(num_rows, description, start=num_rows - num_missing)

    def advance(self, count: int) -> None:
        """Tell that every process has done ``count`` rows more, the last ones perhaps fewer."""
        if self.bar is not None:
            self.bar.advance(min(count * get_world_size(), self.bar.total - self.bar.done))

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
