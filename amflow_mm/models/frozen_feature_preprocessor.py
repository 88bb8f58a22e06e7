"""Preprocessor for models that read clips or, once these are known, frozen features."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from mmaction.models.data_preprocessors import ActionDataPreprocessor
from torch import Tensor

from amflow_mm.models.layers import dequantize_channels, full_precision, quantize_channels
from amflow_mm.registry import MODELS

KeptAs = Literal["float16", "int8"]


@MODELS.register_module()
class FrozenFeaturePreprocessor(ActionDataPreprocessor):
    """MMAction2's preprocessor for clips; frozen features are stacked, and unpacked if packed.

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

    @staticmethod
    def pack(features: Mapping[str, Tensor], kept_as: KeptAs) -> dict[str, Tensor]:
        """Return frozen features in the form in which they are kept.

        Args:
            features: What a backbone's ``extract_frozen`` returned, views apart from videos or not.
            kept_as: ``"float16"`` leaves them alone; ``"int8"`` quantises the tokens, which then
                come with ``tokens_scale`` and ``tokens_middle``. The rest is small and stays.
        """
        if kept_as == "float16":
            return dict(features)
        if kept_as != "int8":
            raise ValueError(f"kept_as={kept_as!r} must be one of 'float16', 'int8'")
        if "tokens" not in features:
            return dict(features)
        codes, scale, middle = quantize_channels(features["tokens"])
        return {**features, "tokens": codes, "tokens_scale": scale, "tokens_middle": middle}

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
            features = {name: torch.stack(values) for name, values in inputs.items()}
            return _unpack(features), data_samples


def _unpack(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return features that :meth:`FrozenFeaturePreprocessor.pack` took, tokens in half precision.

    Here and not where they are read: bytes travel from the workers and to the device.
    """
    if "tokens_scale" not in features:
        return features
    scale, middle = features.pop("tokens_scale"), features.pop("tokens_middle")
    return {**features, "tokens": dequantize_channels(features["tokens"], scale, middle)}
