"""What a backbone returns."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor


class BackboneOutput(NamedTuple):
    """Features of every frame and, where it was asked for, the AM flow of every block.

    Args:
        features: One vector a frame.
        flow: Weights of the patches for each block that measured them.
    """

    features: Float[Tensor, "B T C"]
    flow: Float[Tensor, "B L T P"] | None = None
