"""How much AM flow says, in numbers, while a model trains."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from amflow_mm.registry import HOOKS


def compute_flow_statistics(flow: Float[Tensor, "B L T P"]) -> dict[str, float]:
    """Return mean, standard deviation, minimum and maximum of w.

    A standard deviation near zero means that w is the constant 1: no motion in the clip, or a
    temperature at which AM flow is inert.
    """
    flow = flow.float()
    return {
        "mean": flow.mean().item(),
        "std": flow.std(unbiased=False).item(),
        "min": flow.min().item(),
        "max": flow.max().item(),
    }


def take_first(batch: Any) -> Any:
    """Return a batch of the first sample alone, of tensors, lists, or mappings of them."""
    if isinstance(batch, Mapping):
        return {key: take_first(value) for key, value in batch.items()}
    return batch[:1]


@HOOKS.register_module()
class FlowStatisticsHook(Hook):
    """Log the statistics of AM flow on one clip of the batch at hand.

    The flow is asked for as an output, ``extract_feat(..., stage="flow")``, at intervals only:
    training does not pay for it, and no module is hooked.

    Args:
        interval: Training iterations between two looks.
    """

    priority = "ABOVE_NORMAL"  # before LoggerHook, which shows the values

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f"interval={interval} must be at least 1 iteration")
        self.interval = interval

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Look at the first clip of the batch, on one process, as at test time."""
        del batch_idx, outputs
        if not self.every_n_train_iters(runner, self.interval) or not is_main_process():
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.eval()
        with torch.no_grad():
            inputs = model.data_preprocessor(take_first(data_batch), training=False)["inputs"]
            flow, _ = model.extract_feat(inputs, stage="flow")
        model.train()
        for name, value in compute_flow_statistics(flow).items():
            runner.message_hub.update_scalar(f"train/flow_{name}", value)
