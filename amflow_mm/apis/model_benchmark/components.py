"""AM flow and the aligning encoders on their own, on what one block of a model hands them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from amflow_mm.apis.complexity import count_macs
from amflow_mm.apis.model_benchmark.case import Case
from amflow_mm.apis.model_benchmark.subject import MODES, Mode, Subject
from amflow_mm.apis.random_clips import random_clips
from amflow_mm.models import AMFlow, ImageViT
from amflow_mm.models.layers import AffineAligner, AligningEncoder, Grid
from amflow_mm.models.layers.correspondence import Taps
from amflow_mm.models.layers.flow_written_out import written_out_flow

OURS, WRITTEN_OUT = "AM flow", "AM flow, maps written out"
NORMALIZE = "column"


@dataclass(frozen=True)
class BlockOutput:
    """What a block hands to AM flow: queries, keys and tokens with the grid of its patches."""

    q: Tensor
    k: Tensor
    x: Tensor
    grid: Grid

    @property
    def num_prefix_tokens(self) -> int:
        """CLS and registers."""
        return self.x.shape[2] - self.grid[0] * self.grid[1]

    @property
    def patches(self) -> Tensor:
        """Tokens without prefix."""
        return self.x[:, :, self.num_prefix_tokens :]


class ComponentSubject(Subject):
    """A function of what a block hands over, with the backward pass where something trains.

    Args:
        name: Heads the line.
        function: The work.
        given: Its argument.
        case: Precision.
        macs: See :class:`Subject`.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[BlockOutput], Tensor],
        given: BlockOutput,
        *,
        case: Case,
        macs: dict[Mode, int],
    ) -> None:
        super().__init__(name, "component", macs)
        self.function = function
        self._given = given
        self._case = case

    def run(self, mode: Mode) -> None:
        """Do the work."""
        with self._case.autocast(self._given.x.device):
            _run(self.function, self._given, mode)

    @torch.no_grad()
    def result(self) -> Tensor:
        """Return what comes out, to compare."""
        with self._case.autocast(self._given.x.device):
            return self.function(self._given)


def build_components(
    variant: str | dict[str, int], case: Case, device: torch.device
) -> list[ComponentSubject]:
    """Build AM flow as it is here and as one would write it down, and the aligning encoders.

    Args:
        variant: Size of the image transformer whose first block they follow.
        case: Clips.
        device: Where they run.
    """
    given = block_output(variant, case, device)
    meta = block_output(variant, replace(case, dtype="fp32"), torch.device("meta"))
    counted = _functions(meta)
    subjects = []
    for name, (module, function) in _functions(given).items():
        trains = module is not None and any(p.requires_grad for p in module.parameters())
        modes = MODES if trains else MODES[:1]
        macs = {
            mode: count_macs(lambda f=counted[name][1], m=mode: _run(f, meta, m)) for mode in modes
        }
        subjects.append(ComponentSubject(name, function, given, case=case, macs=macs))
    return subjects


@torch.no_grad()
def block_output(variant: str | dict[str, int], case: Case, device: torch.device) -> BlockOutput:
    """Return what the first block of an image transformer hands to AM flow, strides included."""
    options = {} if isinstance(variant, str) else {"image_size": 2 * variant["patch_size"]}
    with device:
        model = ImageViT(variant, **options)
    clips = random_clips(case.batch_size, case.shape, device)[:, 0]
    handed: list[BlockOutput] = []

    def keep(q: Tensor, k: Tensor, x: Tensor, layer: int, grid: Grid) -> Tensor:
        del layer
        handed.append(BlockOutput(q, k, x, grid))
        return x.new_ones(*x.shape[:2], grid[0] * grid[1])

    with case.autocast(device):
        x, grid = model.embed(clips)
        model.run_block(0, x, grid, keep)
    return handed[0]


def _functions(given: BlockOutput) -> dict[str, tuple[nn.Module | None, Callable[..., Tensor]]]:
    """Return each component: the module that it is made of, if any, and what is run."""
    plain = _flow_neck(None, given)
    functions: dict[str, tuple[nn.Module | None, Callable[..., Tensor]]] = {
        OURS: (plain, _asking(plain)),
        WRITTEN_OUT: (None, _write_out),
    }
    width = given.x.shape[-1]
    aligners: dict[str, dict[str, Any]] = {
        f"{warp} encoder": {"type": AligningEncoder, "embed_dim": width, "warp": warp}
        for warp in ("affine", "window", "dense")
    } | {"closed-form affine": {"type": AffineAligner}}
    for name, aligner in aligners.items():
        neck = _flow_neck(aligner, given)
        functions[f"aligner: {name}"] = (neck, _aligning(neck))
        functions[f"AM flow with {name}"] = (neck, _asking(neck))
    return functions


def _flow_neck(aligner: dict[str, Any] | None, given: BlockOutput) -> AMFlow:
    with given.x.device:
        return AMFlow(normalize=NORMALIZE, aligner=aligner)


def _asking(neck: AMFlow) -> Callable[[BlockOutput], Tensor]:
    return lambda given: neck(given.q, given.k, given.x, 0, given.grid)


def _write_out(given: BlockOutput) -> Tensor:
    return written_out_flow(
        given.q, given.k, num_prefix_tokens=given.num_prefix_tokens, normalize=NORMALIZE
    )


def _aligning(neck: AMFlow) -> Callable[[BlockOutput], Tensor]:
    def align(given: BlockOutput) -> Tensor:
        found = neck.align(given.patches, 0, given.grid)
        return found.weight if isinstance(found, Taps) else found

    return align


def _run(function: Callable[[BlockOutput], Tensor], given: BlockOutput, mode: Mode) -> None:
    with torch.set_grad_enabled(mode == "step"):
        result = function(given)
        if mode == "step":
            result.square().sum().backward()
