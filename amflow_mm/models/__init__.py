"""Models. Importing this registers them, and MMAction2's beside them."""

import mmaction.models  # noqa: F401  (a child registry does not import its parent's modules)

from amflow_mm.models import registered_layers  # noqa: F401
from amflow_mm.models.backbones import (
    AdaptFormerViT,
    AIMViT,
    AMFlowSideViT,
    AMFlowViT,
    ImageViT,
    STAdapterViT,
)
from amflow_mm.models.clip_preprocessor import ClipPreprocessor
from amflow_mm.models.frozen_feature_preprocessor import FrozenFeaturePreprocessor
from amflow_mm.models.heads import TemporalMeanHead
from amflow_mm.models.necks import AMFlow, FeatureFlow, ShuffledFlow, UniformFlow
from amflow_mm.models.recognizers import AMFlowRecognizer
from amflow_mm.models.weights import PretrainedImageViT

__all__ = [
    "AIMViT",
    "AMFlow",
    "AMFlowRecognizer",
    "AMFlowSideViT",
    "AMFlowViT",
    "AdaptFormerViT",
    "ClipPreprocessor",
    "FeatureFlow",
    "FrozenFeaturePreprocessor",
    "ImageViT",
    "PretrainedImageViT",
    "STAdapterViT",
    "ShuffledFlow",
    "TemporalMeanHead",
    "UniformFlow",
]
