"""Datasets: what MMAction2 lacks.

MMAction2's are not imported here: they take a second, which the generator of the motion clips need
not wait for, and the registries import them at the first look-up.
"""

from amflow_mm.datasets.feature_store import FeatureStore
from amflow_mm.datasets.frozen_feature_dataset import FrozenFeatureDataset

__all__ = ["FeatureStore", "FrozenFeatureDataset"]
