"""Preprocessor for models that read clips or, once these are known, frozen features."""

from collections.abc import Mapping
from typing import Any

import torch
from mmaction.models.data_preprocessors import ActionDataPreprocessor
from torch import Tensor

from amflow_mm.models.layers import full_precision
from amflow_mm.registry import MODELS


@MODELS.register_module()
class FrozenFeaturePreprocessor(ActionDataPreprocessor):
    """MMAction2's preprocessor for clips; frozen features are stacked as they are.

    Args:
        mean: Mean of each channel, 0 to 255.
        std: Standard deviation of each channel, 0 to 255.
        format_shape: Axes of the clips.
    """

    def __init__(
        self,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        *,
        format_shape: str = "NCTHW",
    ) -> None:
        super().__init__(mean=mean, std=std, format_shape=format_shape)
        # MMEngine's base takes this as an argument, which MMAction2's class does not pass on.
        self._non_blocking = True

    def preprocess(
        self,
        inputs: list[Tensor] | Mapping[str, list[Tensor]],
        data_samples: list[Any] | None,
        training: bool = False,
    ) -> tuple[Tensor | dict[str, Tensor], list[Any] | None]:
        """Return a batch and its samples; MMEngine collates frozen features name by name."""
        if not isinstance(inputs, Mapping):
            return super().preprocess(inputs, data_samples, training)
        with full_precision(self.mean.device):  # autocast refuses to stack half precision
            return {name: torch.stack(values) for name, values in inputs.items()}, data_samples
