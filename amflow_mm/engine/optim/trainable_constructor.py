"""Parameter groups: what is frozen is left out, what must not shrink takes no decay."""

from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from torch import nn
from torch.nn.modules.conv import _ConvNd

from amflow_mm.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS

WEIGHT_BEARING = (nn.Linear, nn.Bilinear, _ConvNd, nn.RNNBase, nn.MultiheadAttention)
"""Modules whose matrices take weight decay."""


def split_by_decay(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the trainable parameters with and without weight decay.

    Only matrices of linear, convolutional and recurrent layers decay. Norms, biases and scales
    are vectors; what hangs on any other module is a token, a position or an embedding. So
    nothing is decided by name.
    """
    decayed: dict[int, nn.Parameter] = {}
    plain: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            is_matrix = parameter.ndim > 1 and isinstance(module, WEIGHT_BEARING)
            (decayed if is_matrix else plain)[id(parameter)] = parameter
    # A matrix that an embedding shares with a linear layer is an embedding.
    return [p for key, p in decayed.items() if key not in plain], list(plain.values())


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainableOptimWrapperConstructor:
    """Build an optimiser over the trainable parameters alone.

    MMEngine's constructor hands the frozen ones over too: they have no gradient, but they cost
    time at every step, appear in the checkpoint, and ``paramwise_cfg`` knows no embeddings.

    Args:
        optim_wrapper_cfg: Config of the wrapper, with ``optimizer`` inside.
        paramwise_cfg: Not offered; the groups follow from the modules.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if paramwise_cfg is not None:
            raise ValueError(
                f"paramwise_cfg={paramwise_cfg} is not offered by {type(self).__name__}, which "
                "groups by module type; drop it, or drop `constructor` to use MMEngine's"
            )
        self.optim_wrapper_cfg = dict(optim_wrapper_cfg)
        self.optimizer_cfg = dict(self.optim_wrapper_cfg.pop("optimizer"))
        self.optim_wrapper_cfg.setdefault("type", OptimWrapper)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapped optimiser."""
        decayed, plain = split_by_decay(model)
        if not decayed and not plain:
            raise ValueError(
                f"{type(model).__name__} has no trainable parameter; a module must declare some "
                "in adapter_params()"
            )
        groups = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        groups = [group for group in groups if group["params"]]
        optimizer = OPTIMIZERS.build(dict(self.optimizer_cfg, params=groups))
        print_log(
            f"{type(optimizer).__name__}: {len(decayed)} tensors with weight decay, "
            f"{len(plain)} without",
            logger="current",
        )
        return OPTIM_WRAPPERS.build(self.optim_wrapper_cfg, default_args={"optimizer": optimizer})
