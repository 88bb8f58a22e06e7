"""What trains: told at start-up, and checked against the optimiser."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn
from torch.optim import Optimizer

from amflow_mm.engine.parameter_sizes import measure_parameters
from amflow_mm.models.peft import parameter_report
from amflow_mm.registry import HOOKS


def check_optimizer(model: nn.Module, optimizer: Optimizer) -> None:
    """Check that an optimiser holds the trainable parameters, all of them and no other.

    Raises:
        ValueError: It does not; names the first parameter on either side.
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    left_out = [n for n, p in model.named_parameters() if p.requires_grad and id(p) not in held]
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad and id(p) in held]
    if left_out:
        raise ValueError(
            f"the optimiser lacks {len(left_out)} trainable parameters (first: {left_out[0]}); "
            "freeze before the optimiser is built"
        )
    if frozen:
        raise ValueError(
            f"the optimiser holds {len(frozen)} frozen parameters (first: {frozen[0]}); set "
            "optim_wrapper.constructor to TrainableOptimWrapperConstructor"
        )


@HOOKS.register_module()
class ParameterReportHook(Hook):
    """Log trainable and total parameters by module, and check the optimiser against them.

    ``tools/analysis/params.py`` tells the same and more before anything trains.
    """

    priority = "VERY_LOW"

    def before_train(self, runner: Runner) -> None:
        """Report once everything is built and loaded."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        sizes = measure_parameters(model)
        runner.logger.info(f"Parameters:\n{parameter_report(model)}\n{sizes.short()}")
        check_optimizer(model, runner.optim_wrapper.optimizer)
