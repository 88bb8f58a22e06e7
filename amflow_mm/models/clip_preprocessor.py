"""Preprocessor that crops, resizes and flips on the device what the workers have planned."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from mmaction.models.data_preprocessors import ActionDataPreprocessor
from torch import Tensor

from amflow_mm.datasets.planned_clip import PlannedClip, render_clips
from amflow_mm.registry import MODELS

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@MODELS.register_module()
class ClipPreprocessor(ActionDataPreprocessor):
    """MMAction2's preprocessor for clips whose geometry may still be a plan.

    Clips cross to the device in uint8 and, where the loader pins them (``pin_memory=True``),
    while it is still at work on the batch before. Samples without a plan are treated as MMAction2
    treats them, to the bit.

    Args:
        mean: Mean of each channel, 0 to 255; ``None`` for raw pixels.
        std: Standard deviation of each channel, 0 to 255.
        to_rgb: Whether frames come as BGR and are to be turned.
        blending: Config of a mix of clips, for training.
        format_shape: Axes of the clips.
        dtype: Of the batch. Half precision halves its memory and is for models that run under
            autocast; the arithmetic before it is done in float32.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        *,
        to_rgb: bool = False,
        blending: dict[str, Any] | None = None,
        format_shape: str = "NCTHW",
        dtype: Literal["float32", "float16", "bfloat16"] = "float32",
    ) -> None:
        super().__init__(mean, std, to_rgb=to_rgb, blending=blending, format_shape=format_shape)
        if dtype not in DTYPES:
            raise ValueError(f"dtype={dtype!r} must be one of {', '.join(DTYPES)}")
        self.dtype = DTYPES[dtype]
        # MMEngine's base takes this as an argument, which MMAction2's class does not pass on.
        self._non_blocking = True

    def preprocess(
        self,
        inputs: list[Tensor | PlannedClip],
        data_samples: list[Any] | None,
        training: bool = False,
    ) -> tuple[Tensor, list[Any] | None]:
        """Carry out the plans, then stack, normalise and blend as MMAction2 does."""
        batch, data_samples = super().preprocess(render_clips(inputs), data_samples, training)
        return batch.to(self.dtype), data_samples
