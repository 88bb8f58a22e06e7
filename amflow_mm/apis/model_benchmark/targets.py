"""What this project has set itself, and how far a run is from it."""

from collections.abc import Callable
from dataclasses import dataclass

from amflow_mm.apis.model_benchmark.components import OURS, WRITTEN_OUT
from amflow_mm.apis.model_benchmark.recipes import AIM, FROZEN, IN_BLOCK, SIDE, SIDE_CACHED
from amflow_mm.apis.model_benchmark.summary import Summary
from amflow_mm.apis.reporting import Spread

Measure = Callable[[Summary], Spread | None]


@dataclass(frozen=True)
class Figure:
    """One figure with its target on each kind of device.

    Attributes:
        title: What it is.
        cpu: Target there; None where it is only told.
        gpu: Target there.
        measure: Takes it from a run; None if the run does not hold it.
        is_floor: Whether the target is to be exceeded.
    """

    title: str
    cpu: float | None
    gpu: float | None
    measure: Measure
    is_floor: bool = False

    def target(self, device: str) -> float | None:
        """Return the target on a device."""
        return self.gpu if device.startswith("cuda") else self.cpu

    def is_reached(self, device: str, measured: Spread) -> bool | None:
        """Tell whether the median reaches the target; None where there is none."""
        target = self.target(device)
        if target is None:
            return None
        return measured.median >= target if self.is_floor else measured.median <= target


def _time(over: str, under: str, mode: str = "step") -> Measure:
    return lambda summary: summary.time_ratio(over, under, mode)


def _memory(over: str, under: str, *, beyond_weights: bool = False) -> Measure:
    def measure(summary: Summary) -> Spread | None:
        read = summary.grown_bytes if beyond_weights else summary.peak_bytes
        first, second = read(over, "step"), read(under, "step")
        return Spread.of([first / second]) if first and second else None

    return measure


FIGURES = (
    Figure("forward, AM flow and adapters / frozen ViT", 1.20, 1.15,
           _time(IN_BLOCK, FROZEN, "forward")),
    Figure("AM flow alone / maps written out", 0.5, 0.2, _time(OURS, WRITTEN_OUT, "forward")),
    Figure("training step, in_block / AIM", 0.6, 0.5, _time(IN_BLOCK, AIM)),
    Figure("training step, side, nothing cached / AIM", 0.35, 0.3, _time(SIDE, AIM)),
    Figure("epoch, side, cached / in_block", 0.05, 0.05, _time(SIDE_CACHED, IN_BLOCK)),
    Figure("peak memory of a step, in_block / AIM", 0.6, 0.5, _memory(IN_BLOCK, AIM)),
    Figure("peak memory of a step, side / AIM", 0.25, 0.2, _memory(SIDE, AIM)),
    Figure("the same beyond weights and optimiser, in_block / AIM", None, None,
           _memory(IN_BLOCK, AIM, beyond_weights=True)),
    Figure("the same beyond weights and optimiser, side / AIM", None, None,
           _memory(SIDE, AIM, beyond_weights=True)),
    Figure("share of the matrix peak in a training step, in_block", None, 0.4,
           lambda summary: summary.share_of_peak(IN_BLOCK, "step"), is_floor=True),
)  # fmt: skip
