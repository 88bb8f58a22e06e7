"""The frozen features of a data set: what identifies them, and how rows of them are made."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from amflow_mm import __version__
from amflow_mm.datasets import FeatureStore, FrozenFeatureDataset
from amflow_mm.models.peft import trainable_state_dict

Rows = dict[int, dict[str, np.ndarray]]
Batch = list[tuple[int, dict[str, Any]]]
"""Rows and the samples that were drawn for them."""


class KeptFeatures:
    """The stores of a data set's tokens and, where the neck measures any, of the flow.

    Args:
        name: What the data set is for, in messages.
        dataset: What is to be kept.
        model: Recognizer, without a parallel wrapper.
        kept_as: See ``FrozenFeatureHook``.

    Raises:
        ValueError: The model cannot be split into a frozen and a trained part, or cannot read
            what is kept.
    """

    def __init__(
        self, name: str, dataset: FrozenFeatureDataset, model: nn.Module, kept_as: str
    ) -> None:
        _check_parts(model)
        self.name = name
        self.dataset = dataset
        self.model = model
        self.kept_as = kept_as
        self._neck = model.neck if model.with_neck else None
        keys = self._keys()
        # As ever in half precision: what was kept before there was a choice stays valid.
        form = [] if kept_as == "float16" else [f"tokens kept as {kept_as}"]
        self.tokens = dataset.store("tokens", *keys, *form)
        measurement = None if self._neck is None else self._neck.measurement()
        self.flow = None if measurement is None else dataset.store("flow", *keys, measurement)

    @property
    def stores(self) -> list[FeatureStore]:
        """All stores."""
        return [store for store in (self.tokens, self.flow) if store is not None]

    def missing_rows(self) -> list[int]:
        """Return the rows that any of the stores lacks."""
        return sorted(set().union(*(store.missing_rows() for store in self.stores)))

    def num_bytes(self) -> dict[FeatureStore, int]:
        """Return the size of each store once all rows are there.

        One that was never written to is as large as a row tells, for which the frozen model sees
        the first one.
        """
        sizes = {store: store.num_bytes() for store in self.stores if store.exists}
        if len(sizes) < len(self.stores):
            for store, rows in self._compute([(0, self.dataset.draw(0))]).items():
                sizes.setdefault(store, store.num_bytes_with(rows[0]))
        return sizes

    def keep(self, batch: Batch) -> None:
        """Pass a few videos through the frozen model and write their rows.

        Rows that a store has already may be in use by another run and are left alone.
        """
        for store, rows in self._compute(batch).items():
            lacking = {row: arrays for row, arrays in rows.items() if not store.has(row)}
            if lacking:
                store.write(lacking)

    def attach(self) -> None:
        """Let the data set serve what is kept."""
        self.dataset.attach(*self.stores)

    def _keys(self) -> tuple[str, ...]:
        backbone, preprocessor = self.model.backbone, self.model.data_preprocessor
        return (
            __version__,
            _weights_digest(backbone),
            f"{backbone.frozen_recipe()}",
            f"{preprocessor.mean.tolist()} {preprocessor.std.tolist()} {preprocessor.format_shape}",
        )

    def _compute(self, batch: Batch) -> dict[FeatureStore, Rows]:
        """Return the rows of each store, the tokens' first."""
        features = self._extract([sample["inputs"] for _, sample in batch])
        flow = features.pop("flow", None)
        rows: dict[FeatureStore, Rows] = {store: {} for store in self.stores}
        for index, (row, sample) in enumerate(batch):
            arrays = {name: value[index] for name, value in features.items()}
            rows[self.tokens][row] = {**arrays, **FrozenFeatureDataset.annotation(sample)}
            if self.flow is not None:
                rows[self.flow][row] = {"flow": flow[index]}
        return rows

    @torch.no_grad()
    def _extract(self, clips: list[Tensor]) -> dict[str, np.ndarray]:
        """Pass the views of a few videos through the frozen model: (videos, V, ...) each."""
        num_views = clips[0].shape[0]
        preprocessor = self.model.data_preprocessor
        data = preprocessor({"inputs": clips, "data_samples": [None] * len(clips)})
        frozen = self.model.backbone.extract_frozen(data["inputs"].flatten(0, 1), self._neck)
        packed = preprocessor.pack(frozen, self.kept_as)
        return {
            name: value.unflatten(0, (-1, num_views)).cpu().numpy()
            for name, value in packed.items()
        }


def _check_parts(model: nn.Module) -> None:
    if not hasattr(model.backbone, "extract_frozen"):
        raise ValueError(
            f"backbone {type(model.backbone).__name__} trains inside the frozen model, so nothing "
            "of it can be kept: use AMFlowSideViT, or the video dataset without "
            "FrozenFeatureDataset"
        )
    if not hasattr(model.data_preprocessor, "pack"):
        raise ValueError(
            f"data_preprocessor {type(model.data_preprocessor).__name__} reads clips alone, no "
            "kept features: use FrozenFeaturePreprocessor, or the video dataset without "
            "FrozenFeatureDataset"
        )
    neck = model.neck if model.with_neck else None
    if neck is not None and any(parameter.requires_grad for parameter in neck.parameters()):
        raise ValueError(
            "the aligning encoder of the neck is trained, so its flow cannot be kept: use "
            "AffineAligner, or the video dataset without FrozenFeatureDataset"
        )


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
