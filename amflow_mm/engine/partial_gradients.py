"""Gradients of an accumulation that a checkpoint falls into, without which it would lose them.

MMEngine adds up the gradients of ``accumulative_counts`` iterations and saves none of them. What a
process has added up is its own until the step, so a checkpoint keeps one sum for each process.
"""

from collections.abc import Mapping

import torch
from mmengine.dist import gather, get_rank, get_world_size
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor, nn

from amflow_mm.engine.errors import CheckpointError

PARTIAL_GRADIENTS = "partial_gradients"
"""Entry of a checkpoint: name of a parameter to its gradients, one for each process."""


def gather_partial_gradients(
    model: nn.Module, optim_wrapper: OptimWrapper
) -> dict[str, Tensor] | None:
    """Collect what all processes have added up since the last step.

    Every process must take part. Of several optimisers in an ``OptimWrapperDict`` MMEngine leaves
    the steps to the model, which then accumulates by itself, if at all.

    Args:
        model: Model without a parallel wrapper.
        optim_wrapper: Knows whether the last iteration has ended with a step.

    Returns:
        Name of each parameter with a gradient to its gradients (processes, ...), in the main
        process; None right after a step.
    """
    if isinstance(optim_wrapper, OptimWrapperDict) or optim_wrapper.should_update():
        return None
    gathered = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            gathered[name] = gather(parameter.grad)  # empty but in the main process
    return {name: torch.stack(parts).cpu() for name, parts in gathered.items() if parts}


def restore_partial_gradients(model: nn.Module, gradients: Mapping[str, Tensor]) -> None:
    """Give the parameters back what this process had added up.

    Args:
        model: Model without a parallel wrapper.
        gradients: As ``gather_partial_gradients`` returned them in the main process.

    Raises:
        CheckpointError: Another number of processes had added them up.
    """
    parameters = dict(model.named_parameters())
    for name, parts in gradients.items():
        if len(parts) != get_world_size():
            raise CheckpointError(
                f"the checkpoint was written by {len(parts)} processes in the middle of an "
                f"accumulation of gradients, which {get_world_size()} cannot go on with; resume "
                f"with {len(parts)} processes, or from a checkpoint after a step"
            )
        parameters[name].grad = parts[get_rank()].to(parameters[name], copy=True)
