"""A dataset whose clips pass the frozen model once and are then served from disk."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmaction.structures import ActionDataSample
from torch.utils.data import Dataset

from amflow_mm.datasets.feature_store import FeatureStore
from amflow_mm.datasets.randomness import isolated_randomness
from amflow_mm.datasets.skip_ledger import SKIPPED
from amflow_mm.registry import DATASETS


@DATASETS.register_module()
class FrozenFeatureDataset(Dataset):
    """Wrap a video dataset; after :meth:`attach` its samples are frozen features from disk.

    Random steps of the pipeline are drawn ``num_draws`` times for each sample, with seeds that
    depend on the sample and the draw alone; training then picks one of the draws at random.
    ``FrozenFeatureHook`` computes and attaches the features before the first epoch. What stood in
    for a video that could not be read then (``VideoListDataset``) is told by its sample ever after.

    Args:
        dataset: Config of the video dataset, its pipeline included.
        cache_dir: Folder of the features; several datasets and models may share it.
        num_draws: Random draws of the pipeline that are kept for each sample.
    """

    def __init__(
        self, dataset: dict[str, Any], *, cache_dir: str = "data/cache", num_draws: int = 1
    ) -> None:
        if num_draws < 1:
            raise ValueError(f"num_draws={num_draws} must be >= 1")
        self.videos = DATASETS.build(dataset)
        self.cache_dir = Path(cache_dir)
        self.num_draws = num_draws
        self._recipe = _plain(dataset)
        self._stores: tuple[FeatureStore, ...] = ()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Metainfo of the video dataset."""
        return self.videos.metainfo

    @property
    def is_attached(self) -> bool:
        """Whether samples come from disk."""
        return bool(self._stores)

    @property
    def num_rows(self) -> int:
        """Samples times draws."""
        return len(self.videos) * self.num_draws

    def fingerprint(self) -> str:
        """Identify files, labels, pipeline and draws: change one and the features are stale."""
        files = []
        for index in range(len(self.videos)):
            info = self.videos.get_data_info(index)
            path = Path(info["filename"])
            stat = path.stat() if path.is_file() else None
            facts = stat and (stat.st_size, stat.st_mtime_ns)
            files.append((str(path), facts, info["label"]))
        text = json.dumps([self._recipe, self.num_draws, files])
        return hashlib.sha256(text.encode()).hexdigest()

    def store(self, kind: str, *keys: str) -> FeatureStore:
        """Return the store of this dataset for features that ``keys`` identify."""
        text = json.dumps([self.fingerprint(), *keys])
        key = hashlib.sha256(text.encode()).hexdigest()[:16]
        return FeatureStore(self.cache_dir / f"{kind}-{key}", self.num_rows)

    def attach(self, *stores: FeatureStore) -> None:
        """Serve samples from complete stores from now on.

        Raises:
            ValueError: A store lacks rows.
        """
        for store in stores:
            if not store.is_complete:
                raise ValueError(f"{store.folder} lacks {len(store.missing_rows())} rows")
        self._stores = stores

    def draw(self, row: int) -> dict[str, Any]:
        """Run the pipeline for a row with the row's own seed."""
        with isolated_randomness(row):
            return self.videos[row // self.num_draws]

    @staticmethod
    def annotation(sample: dict[str, Any]) -> dict[str, np.ndarray]:
        """Return the arrays to be kept of a drawn sample beside its features."""
        facts = sample["data_samples"]
        return {
            "label": facts.gt_label.numpy().reshape(()),
            "is_stand_in": np.array(SKIPPED in facts.metainfo),
        }

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Return the annotation of a sample."""
        return self.videos.get_data_info(index)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.videos)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return features where they are attached, else the clip itself."""
        if not self._stores:
            return self.videos[index]
        row = index * self.num_draws
        if self.num_draws > 1:
            row += int(torch.randint(self.num_draws, ()))
        arrays = {k: v for store in self._stores for k, v in store.read(row).items()}
        sample = ActionDataSample().set_gt_label(int(arrays.pop("label")))
        if arrays.pop("is_stand_in"):
            path = self.get_data_info(index)["filename"]
            sample.set_metainfo({SKIPPED: {path: "unreadable when its features were computed"}})
        inputs = {name: torch.from_numpy(value) for name, value in arrays.items()}
        return {"inputs": inputs, "data_samples": sample}


def _plain(value: Any) -> Any:
    """Return a config as plain data, classes by their full names."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    return value
