"""TorchScript archives of small models; torch warns that their time is over."""

import warnings

import torch
from torch import Tensor, nn

from amflow_mm.testing import fixed_tensor
from tests.models.tiny import PATCH
from tests.models.weights.foreign_models import SIDE


def example_frames() -> Tensor:
    return fixed_tensor((2, 3, SIDE * PATCH, SIDE * PATCH), tag="frames")


def script(model: nn.Module) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(model)


def trace(model: nn.Module) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # also of shapes that the trace fixes
        return torch.jit.trace(model, example_frames())
