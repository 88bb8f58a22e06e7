"""What the machine makes of a plain product of matrices: the peak that shares refer to."""

import torch

from amflow_mm.apis.model_benchmark.case import Case
from amflow_mm.apis.model_benchmark.subject import Mode, Subject

SIDES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
"""Sides of the square matrices; the fastest counts."""


class MatrixProduct(Subject):
    """A product of square matrices in the precision of a case.

    Args:
        side: Of the matrices.
        case: Precision.
        device: Where it runs.
    """

    def __init__(self, side: int, case: Case, device: torch.device) -> None:
        super().__init__(f"product of {side} x {side}", "machine", {"forward": side**3})
        dtype = torch.bfloat16 if case.dtype == "bf16" else torch.float32
        generator = torch.Generator().manual_seed(side)
        matrices = torch.randn(2, side, side, generator=generator)
        self._first, self._second = matrices.to(device, dtype)
        self._product = torch.empty_like(self._first)

    def run(self, mode: Mode) -> None:
        """Multiply."""
        if mode != "forward":
            raise ValueError(f"mode={mode!r} must be 'forward': there is nothing to train")
        torch.mm(self._first, self._second, out=self._product)


def build_matrix_products(
    case: Case, device: torch.device, sides: tuple[int, ...] | None = None
) -> list[MatrixProduct]:
    """Build the products for a device.

    Args:
        case: Precision.
        device: Where they run.
        sides: Of the matrices; those of ``SIDES`` by default.
    """
    return [MatrixProduct(side, case, device) for side in sides or SIDES[device.type]]
