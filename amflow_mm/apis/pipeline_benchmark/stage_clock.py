"""Times of the single steps of a pipeline."""

import math
import time
from typing import Any

from mmengine.dataset import BaseDataset


class StageClock:
    """Seconds that each step of a dataset's pipeline took, added up over the clips.

    Args:
        dataset: The steps of its pipeline are replaced by ones that also look at the clock.
    """

    def __init__(self, dataset: BaseDataset) -> None:
        steps = dataset.pipeline.transforms
        self._seconds = [0.0] * len(steps)
        self._names = _distinct([_name(step) for step in steps])
        dataset.pipeline.transforms = [
            _TimedStep(step, self._seconds, index) for index, step in enumerate(steps)
        ]

    def reset(self) -> None:
        """Forget what was measured."""
        self._seconds[:] = [0.0] * len(self._seconds)

    def read(self) -> dict[str, float]:
        """Return the seconds of each step, in the order of the pipeline."""
        return dict(zip(self._names, self._seconds, strict=True))


class _TimedStep:
    """A step that adds the time it takes to its entry of a list."""

    def __init__(self, step: Any, seconds: list[float], index: int) -> None:
        self._step, self._seconds, self._index = step, seconds, index

    def __call__(self, results: dict[str, Any]) -> dict[str, Any] | None:
        start = time.perf_counter()
        try:
            return self._step(results)
        finally:
            self._seconds[self._index] += time.perf_counter() - start


def _name(step: Any) -> str:
    """Return the class of a step, and the size that it resizes to: pipelines resize twice."""
    scale = getattr(step, "scale", None)
    if not isinstance(scale, tuple):
        return type(step).__name__
    sides = [str(side) for side in scale if math.isfinite(side)]  # infinite is the free one
    return f"{type(step).__name__} {'x'.join(sides)}"


def _distinct(names: list[str]) -> list[str]:
    """Number the names that come again: ``Flip``, ``Flip 2``."""
    result = []
    for position, name in enumerate(names):
        earlier = names[:position].count(name)
        result.append(f"{name} {earlier + 1}" if earlier else name)
    return result
