"""FrozenFeatureHook: compute the frozen features of a dataset once, then serve them from disk."""

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from mmengine.dist import (
    barrier,
    broadcast_object_list,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from amflow_mm import __version__
from amflow_mm.datasets import FeatureStore, FrozenFeatureDataset
from amflow_mm.models.peft import trainable_state_dict
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
    """

    priority = "VERY_HIGH"

    def __init__(self, *, batch_size: int = 8, num_workers: int = 1) -> None:
        self.batch_size = batch_size
        self.num_workers = num_workers

    def before_train(self, runner: Any) -> None:
        """Prepare training and validation."""
        self._prepare(runner, "training", runner.train_dataloader.dataset)
        if runner.val_loop is not None:
            self._prepare(runner, "validation", runner.val_loop.dataloader.dataset)

    def before_val(self, runner: Any) -> None:
        """Prepare validation on its own."""
        self._prepare(runner, "validation", runner.val_loop.dataloader.dataset)

    def before_test(self, runner: Any) -> None:
        """Prepare the test."""
        self._prepare(runner, "test", runner.test_loop.dataloader.dataset)

    def _prepare(self, runner: Any, name: str, dataset: Dataset) -> None:
        if not isinstance(dataset, FrozenFeatureDataset) or dataset.is_attached:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        tokens, flow = _stores(model, dataset)
        stores = [store for store in (tokens, flow) if store is not None]
        # Of one process: another may look when the first has begun to write.
        missing = [sorted(set().union(*(store.missing_rows() for store in stores)))]
        broadcast_object_list(missing)
        if missing[0]:
            self._fill(model, dataset, tokens, flow, missing[0], f"frozen features, {name}")
        barrier()
        for store in stores:
            store.reopen()
        if is_main_process():
            size = sum(store.num_bytes() for store in stores) / 1e6
            runner.logger.info(f"frozen features, {name}: {size:.0f} MB in {dataset.cache_dir}")
        dataset.attach(*stores)

    def _fill(
        self,
        model: nn.Module,
        dataset: FrozenFeatureDataset,
        tokens: FeatureStore,
        flow: FeatureStore | None,
        missing: list[int],
        description: str,
    ) -> None:
        """Compute this process's share of the missing rows, in step with the others."""
        num_processes = get_world_size()
        loader = DataLoader(
            Subset(_Draws(dataset), missing[get_rank() :: num_processes]),
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=list,
        )
        progress = _SharedProgress(dataset.num_rows, len(missing), description)
        batches = iter(loader)
        # As many rounds in every process; the last shares may be a batch shorter, or empty.
        for number in range(math.ceil(len(missing) / (num_processes * self.batch_size))):
            if number % ROUNDS_BETWEEN_BARRIERS == 0:
                barrier()
            batch = next(batches, [])
            if batch:
                _keep(model, batch, tokens, flow)
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


def _keep(
    model: nn.Module,
    batch: list[tuple[int, dict[str, Any]]],
    tokens: FeatureStore,
    flow: FeatureStore | None,
) -> None:
    """Pass a few videos through the frozen model and write their rows."""
    features = _extract(model, [sample["inputs"] for _, sample in batch])
    token_rows, flow_rows = {}, {}
    for index, (row, sample) in enumerate(batch):
        arrays = {k: v[index].cpu().numpy() for k, v in features.items() if k != "flow"}
        token_rows[row] = {**arrays, **FrozenFeatureDataset.annotation(sample)}
        if flow is not None:
            flow_rows[row] = {"flow": features["flow"][index].cpu().numpy()}
    _write_missing(tokens, token_rows)
    if flow is not None:
        _write_missing(flow, flow_rows)


def _write_missing(store: FeatureStore, rows: dict[int, dict[str, np.ndarray]]) -> None:
    """Write rows that a store lacks; those that it has may be in use by another run."""
    lacking = {row: arrays for row, arrays in rows.items() if not store.has(row)}
    if lacking:
        store.write(lacking)


@torch.no_grad()
def _extract(model: nn.Module, clips: list[Tensor]) -> dict[str, Tensor]:
    """Pass the views of a few videos through the frozen model: (videos, V, ...) each."""
    num_views = clips[0].shape[0]
    data = model.data_preprocessor({"inputs": clips, "data_samples": [None] * len(clips)})
    neck = model.neck if model.with_neck else None
    frozen = model.backbone.extract_frozen(data["inputs"].flatten(0, 1), neck)
    return {name: value.unflatten(0, (-1, num_views)) for name, value in frozen.items()}


def _stores(
    model: nn.Module, dataset: FrozenFeatureDataset
) -> tuple[FeatureStore, FeatureStore | None]:
    """Return the stores of tokens and, where the neck measures any, of the flow.

    Raises:
        ValueError: The model cannot be split into a frozen and a trained part.
    """
    if not hasattr(model.backbone, "extract_frozen"):
        raise ValueError(
            f"backbone {type(model.backbone).__name__} trains inside the frozen model, so nothing "
            "of it can be kept: use AMFlowSideViT, or the video dataset without "
            "FrozenFeatureDataset"
        )
    neck = model.neck if model.with_neck else None
    if neck is not None and any(parameter.requires_grad for parameter in neck.parameters()):
        raise ValueError(
            "the aligning encoder of the neck is trained, so its flow cannot be kept: use "
            "AffineAligner, or the video dataset without FrozenFeatureDataset"
        )
    preprocessor = model.data_preprocessor
    keys = (
        __version__,
        _weights_digest(model.backbone),
        f"{model.backbone.frozen_recipe()}",
        f"{preprocessor.mean.tolist()} {preprocessor.std.tolist()} {preprocessor.format_shape}",
    )
    measurement = None if neck is None else neck.measurement()
    tokens = dataset.store("tokens", *keys)
    return tokens, None if measurement is None else dataset.store("flow", *keys, measurement)


def _weights_digest(backbone: nn.Module) -> str:
    trained = trainable_state_dict(backbone)
    frozen = {k: v for k, v in backbone.state_dict().items() if k not in trained}
    return _digest(frozen.items())


def _digest(items: Iterable[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(items):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.detach().float().cpu().numpy()).tobytes())
    return digest.hexdigest()
