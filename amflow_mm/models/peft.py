"""What is trained and what is frozen, declared by the modules themselves.

A module that is trained names its own parameters in ``adapter_params()``; everything that no
module names is frozen. Nothing is matched by name, so a renamed layer cannot thaw by accident.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class AdapterModule(Protocol):
    """A module with parameters to train beside a frozen model."""

    def adapter_params(self) -> list[str]:
        """Return the trained parameters' names, relative to this module."""
        ...


@dataclass(frozen=True)
class ParameterReport:
    """Parameters of a model, by child.

    Args:
        rows: (name of the child module, trainable, total), in order of definition.
        trainable: Number of parameters that are trained.
        total: Number of all parameters.
    """

    rows: tuple[tuple[str, int, int], ...]
    trainable: int
    total: int

    def __str__(self) -> str:
        """Format a table: module, trainable, total, per cent."""
        rows = [*self.rows, ("all", self.trainable, self.total)]
        lines = [f"{'module':<32}{'trainable':>14}{'total':>14}{'%':>8}"]
        for name, trainable, total in rows:
            percent = 100 * trainable / max(total, 1)
            lines.append(f"{name:<32}{trainable:>14,}{total:>14,}{percent:>8.2f}")
        return "\n".join(lines)


def declared_names(model: nn.Module) -> set[str]:
    """Return the full names of all parameters that some module declares as trained.

    Raises:
        ValueError: A module declares a parameter that it does not have.
    """
    names = set()
    for prefix, module in model.named_modules():
        if not isinstance(module, AdapterModule):
            continue
        own = {name for name, _ in module.named_parameters()}
        for name in module.adapter_params():
            if name not in own:
                raise ValueError(
                    f"adapter_params() of {type(module).__name__} names {name!r}, which it does "
                    f"not have; it has {sorted(own)[:5]} ..."
                )
            names.add(f"{prefix}.{name}" if prefix else name)
    return names


def freeze_except(model: nn.Module) -> ParameterReport:
    """Freeze every parameter that no module declares; return what is left to train."""
    trained = declared_names(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    return parameter_report(model)


def keep_frozen_in_eval(model: nn.Module) -> None:
    """Put modules whose parameters are all frozen into evaluation mode, with all they hold.

    To be called from ``train()``: norms and dropout of a frozen model must not change because
    the model around it trains.
    """
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def trainable_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Return the entries of ``state_dict`` that training changes."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name in trained}


def parameter_report(model: nn.Module, *, depth: int = 1) -> ParameterReport:
    """Count trainable and total parameters by child module, down to ``depth`` levels."""
    counts: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        row = counts.setdefault(".".join(name.split(".")[:depth]), [0, 0])
        row[0] += parameter.numel() * parameter.requires_grad
        row[1] += parameter.numel()
    return ParameterReport(
        rows=tuple((name, trainable, total) for name, (trainable, total) in counts.items()),
        trainable=sum(trainable for trainable, _ in counts.values()),
        total=sum(total for _, total in counts.values()),
    )
