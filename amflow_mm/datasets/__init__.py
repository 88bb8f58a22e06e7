"""Datasets: what MMAction2 lacks. Importing this registers MMAction2's beside ours."""

import mmaction.datasets  # noqa: F401  (a child registry does not import its parent's modules)

from amflow_mm.datasets.feature_store import FeatureStore
from amflow_mm.datasets.frozen_feature_dataset import FrozenFeatureDataset

__all__ = ["FeatureStore", "FrozenFeatureDataset"]
