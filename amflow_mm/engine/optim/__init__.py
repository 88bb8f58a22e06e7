"""Which parameters are stepped, with what decay and in what precision."""

from amflow_mm.engine.optim.autocast_optim_wrapper import AutocastOptimWrapper
from amflow_mm.engine.optim.trainable_constructor import TrainableOptimWrapperConstructor

__all__ = ["AutocastOptimWrapper", "TrainableOptimWrapperConstructor"]
