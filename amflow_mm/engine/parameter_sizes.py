"""What the weights of a model take: in memory while it trains, and in a checkpoint.

Conventions:

- Memory in training is that of weights, gradients and the state of AdamW (two tensors for each
  that is trained, and a counter). Activations, which depend on the batch, come on top.
- A checkpoint holds weights and the state of AdamW. By default the frozen image model is left out
  (``frozen_tensors``); a *full* one has it. A published one has no state.
- 1 MB is 10^6 bytes.
"""

from collections.abc import Iterator
from dataclasses import astuple, dataclass

from torch import Tensor, nn

from amflow_mm.engine.frozen_identity import frozen_tensors

ADAMW_TENSORS = 2
"""Tensors that AdamW keeps for each that it trains: the moving averages of gradient and square."""
ADAMW_COUNTER_BYTES = 4
"""Its counter of steps, a float32 for each tensor."""


@dataclass(frozen=True)
class ModuleSizes:
    """What a part of a model takes.

    Args:
        trainable: Number of trained parameters.
        frozen: Number of frozen parameters.
        buffers: Number of values in buffers.
        weight_bytes: Parameters and buffers in memory.
        gradient_bytes: Gradients in memory.
        optimizer_bytes: State of AdamW, in memory and in a checkpoint.
        saved_bytes: Weights in a checkpoint without the frozen image model.
        full_saved_bytes: Weights in a checkpoint with it.
    """

    trainable: int = 0
    frozen: int = 0
    buffers: int = 0
    weight_bytes: int = 0
    gradient_bytes: int = 0
    optimizer_bytes: int = 0
    saved_bytes: int = 0
    full_saved_bytes: int = 0

    def __add__(self, other: "ModuleSizes") -> "ModuleSizes":
        pairs = zip(astuple(self), astuple(other), strict=True)
        return ModuleSizes(*(mine + theirs for mine, theirs in pairs))

    @property
    def training_bytes(self) -> int:
        """Memory in training, without activations."""
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes

    @property
    def checkpoint_bytes(self) -> int:
        """Size of a checkpoint without the frozen image model."""
        return self.saved_bytes + self.optimizer_bytes

    @property
    def full_checkpoint_bytes(self) -> int:
        """Size of a checkpoint with it."""
        return self.full_saved_bytes + self.optimizer_bytes


@dataclass(frozen=True)
class ParameterSizes:
    """What a model takes, part by part.

    Args:
        modules: Sizes by name of a module; ``*`` stands for every number of a list of modules.
    """

    modules: dict[str, ModuleSizes]

    @property
    def total(self) -> ModuleSizes:
        """Sum over the modules."""
        return sum(self.modules.values(), ModuleSizes())

    def short(self) -> str:
        """Return a line for a log: trainable, total, per cent, sizes of checkpoints."""
        total = self.total
        num_parameters = total.trainable + total.frozen
        percent = 100 * total.trainable / max(num_parameters, 1)
        return (
            f"{total.trainable:,} of {num_parameters:,} parameters are trained ({percent:.2f} %); "
            f"with AdamW a checkpoint takes {total.checkpoint_bytes / 1e6:.1f} MB, and "
            f"{total.full_checkpoint_bytes / 1e6:.1f} MB with the frozen weights"
        )

    def __str__(self) -> str:
        """Format a table, counts first, then megabytes in training and in a checkpoint."""
        rows = [*self.modules.items(), ("all", self.total)]
        width = max(len(name) for name, _ in rows) + 2
        titles = ("weights", "gradients", "AdamW", "checkpoint", "full")
        lines = [
            f"{'':<{width + 42}}{'MB in training':>33}{'MB in a file':>22}",
            f"{'module':<{width}}{'trainable':>14}{'frozen':>14}{'buffers':>14}"
            + "".join(f"{title:>11}" for title in titles),
        ]
        for name, sizes in rows:
            in_bytes = (
                sizes.weight_bytes,
                sizes.gradient_bytes,
                sizes.optimizer_bytes,
                sizes.checkpoint_bytes,
                sizes.full_checkpoint_bytes,
            )
            lines.append(
                f"{name:<{width}}{sizes.trainable:>14,}{sizes.frozen:>14,}{sizes.buffers:>14,}"
                + "".join(f"{value / 1e6:>11.3f}" for value in in_bytes)
            )
        return "\n".join(lines)


def measure_parameters(model: nn.Module, *, depth: int = 3) -> ParameterSizes:
    """Measure what a model takes, part by part.

    Args:
        model: Model on any device, the meta device too; frozen as in training.
        depth: Names that a module's path is cut to, numbers not counted.
    """
    modules: dict[str, ModuleSizes] = {}
    for name, sizes in _measure_tensors(model):
        group = _group(name, depth)
        modules[group] = modules.get(group, ModuleSizes()) + sizes
    return ParameterSizes(modules)


def _measure_tensors(model: nn.Module) -> Iterator[tuple[str, ModuleSizes]]:
    frozen_model = frozen_tensors(model)
    saved = model.state_dict().keys()

    def stored(name: str, tensor: Tensor) -> dict[str, int]:
        return {
            "weight_bytes": tensor.nbytes,
            "saved_bytes": tensor.nbytes * (name in saved and name not in frozen_model),
            "full_saved_bytes": tensor.nbytes * (name in saved),
        }

    for name, parameter in model.named_parameters():
        is_trained = parameter.requires_grad
        yield (
            name,
            ModuleSizes(
                trainable=parameter.numel() * is_trained,
                frozen=parameter.numel() * (not is_trained),
                gradient_bytes=parameter.nbytes * is_trained,
                optimizer_bytes=(ADAMW_TENSORS * parameter.nbytes + ADAMW_COUNTER_BYTES)
                * is_trained,
                **stored(name, parameter),
            ),
        )
    for name, buffer in model.named_buffers():
        yield name, ModuleSizes(buffers=buffer.numel(), **stored(name, buffer))


def _group(name: str, depth: int) -> str:
    """Return the path of a tensor's module, numbers replaced and cut to ``depth`` names."""
    group: list[str] = []
    for part in name.split(".")[:-1]:
        if part.isdecimal():
            group.append("*")
        elif depth == 0:
            break
        else:
            group.append(part)
            depth -= 1
    return ".".join(group) or name
