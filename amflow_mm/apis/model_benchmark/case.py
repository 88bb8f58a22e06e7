"""What a model is given: frames, size, clips at once, precision."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from amflow_mm.apis.complexity import ClipShape

Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Case:
    """One point at which everything is measured.

    Attributes:
        frames: Of a clip.
        resolution: Side of the frames in pixels.
        batch_size: Clips at once.
        dtype: ``bf16`` is float32 weights under bfloat16 autocast, as in training.
    """

    frames: int
    resolution: int
    batch_size: int
    dtype: Precision

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ValueError(f"frames={self.frames} must be >= 2: AM flow compares frames")
        for name in ("resolution", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be >= 1")
        if self.dtype not in get_args(Precision):
            raise ValueError(f"dtype={self.dtype!r} must be one of {get_args(Precision)}")

    @property
    def shape(self) -> ClipShape:
        """Size of a clip."""
        return ClipShape(self.frames, self.resolution, self.resolution)

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the context of a forward pass."""
        if self.dtype == "bf16":
            return torch.autocast(device.type, torch.bfloat16)
        return nullcontext()

    def differences(self, other: "Case") -> str:
        """Say in a few words in what it differs from another."""
        said = {
            "frames": f"{self.frames} frames",
            "resolution": f"{self.resolution} x {self.resolution}",
            "batch_size": f"{self.batch_size} at once",
            "dtype": self.dtype,
        }
        return ", ".join(
            words for name, words in said.items() if getattr(self, name) != getattr(other, name)
        )

    def __str__(self) -> str:
        """Describe the case in one line."""
        size = f"{self.frames} frames of {self.resolution} x {self.resolution}"
        return f"{size}, {self.batch_size} at once, {self.dtype}"


def cases_around_first(
    frames: Sequence[int],
    resolutions: Sequence[int],
    batch_sizes: Sequence[int],
    dtypes: Sequence[Precision],
) -> list[Case]:
    """Return the case of all first values, then those that differ from it in one.

    All combinations would take the product of the lengths; growth with frames and with the batch
    needs their sum.
    """
    first = Case(frames[0], resolutions[0], batch_sizes[0], dtypes[0])
    others = [Case(n, first.resolution, first.batch_size, first.dtype) for n in frames]
    others += [Case(first.frames, n, first.batch_size, first.dtype) for n in resolutions]
    others += [Case(first.frames, first.resolution, n, first.dtype) for n in batch_sizes]
    others += [Case(first.frames, first.resolution, first.batch_size, n) for n in dtypes]
    return list(dict.fromkeys([first, *others]))
