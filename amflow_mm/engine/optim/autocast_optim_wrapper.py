"""Training in bfloat16."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn
from torch.optim import Optimizer

from amflow_mm.registry import OPTIM_WRAPPERS

Where = Literal["gpu", "anywhere"]


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass under bfloat16 autocast; weights and their updates stay float32.

    bfloat16 has the range of float32, so gradients need no scaling. MMEngine's AmpOptimWrapper
    scales them all the same and refuses to run without a GPU, so one config could not serve both.

    Args:
        optimizer: Steps the parameters.
        where: ``gpu`` autocasts only on a GPU and trains in float32 elsewhere (on a CPU bfloat16
            is rarely faster); ``anywhere`` autocasts on the CPU too.
        accumulative_counts: Iterations whose gradients are added up before a step.
        clip_grad: Arguments of ``torch.nn.utils.clip_grad_norm_``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        where: Where = "gpu",
        accumulative_counts: int = 1,
        clip_grad: dict | None = None,
    ) -> None:
        if where not in get_args(Where):
            raise ValueError(f"where={where!r} must be one of {get_args(Where)}")
        super().__init__(optimizer, accumulative_counts, clip_grad)
        self.device_type = torch.device(get_device()).type
        self.is_enabled = where == "anywhere" or self.device_type != "cpu"

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast around the forward pass, besides MMEngine's handling of accumulation."""
        autocast = torch.autocast(self.device_type, torch.bfloat16, enabled=self.is_enabled)
        with super().optim_context(model), autocast:
            yield
