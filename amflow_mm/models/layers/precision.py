"""Numerics: run a few lines in full precision inside a mixed-precision region."""

from contextlib import AbstractContextManager, nullcontext

import torch


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Switch autocast off, so that matrix products keep the dtype of their inputs.

    Differences of attention maps cancel nearly equal numbers of size 1/P; half-precision
    products would leave rounding noise in place of motion.
    """
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
