"""AMFlowSideViT: a ladder of temporal adapters beside a frozen image transformer.

The frozen model runs without gradient; a training step costs about one forward pass, and what
the ladder reads of the frozen model can be computed once and kept:

    h = GELU(W_down LN(x_l))              x_l: frozen patch tokens at the input of block l
    z = state + h', h' with the flow      as in the in-block adapter
    state = z + unit(z)
    frame vector = final frozen vector + W_up LN(sum_j w_j state_j / sum_j w_j)

w in the last line is the mean flow of the chosen blocks: what moved has the say.

Ladder side-tuning: Sung et al., arXiv:2206.06522.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from amflow_mm.models.backbones.image_vit import FamilyName, ImageViT, check_layers
from amflow_mm.models.backbones.output import BackboneOutput
from amflow_mm.models.layers import (
    FlowModule,
    Grid,
    MotionBottleneck,
    full_precision,
    zero_linear,
)
from amflow_mm.models.layers.adapter import FlowAs, Pooling
from amflow_mm.models.layers.mlp import Activation
from amflow_mm.models.registered_layers import build_unit
from amflow_mm.registry import MODELS

FrozenFeatures = dict[str, Tensor]


class SideStep(nn.Module):
    """One rung: reads the tokens of a frozen block into the running state."""

    def __init__(self, embed_dim: int, bottleneck: MotionBottleneck, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.down = nn.Linear(embed_dim, dim)
        self.bottleneck = bottleneck

    def adapter_params(self) -> list[str]:
        """Everything here is trained."""
        return [name for name, _ in self.named_parameters()]

    def forward(
        self,
        x: Float[Tensor, "B T P C"],
        w: Float[Tensor, "B T P"],
        state: Float[Tensor, "B T P R"] | None,
        grid: Grid,
    ) -> Float[Tensor, "B T P R"]:
        """Return the next state."""
        return self.bottleneck(F.gelu(self.down(self.norm(x))), w, grid, state)


@MODELS.register_module()
class AMFlowSideViT(ImageViT):
    """Side adaptation: no gradient enters the frozen transformer.

    With a fresh ladder its features equal the frozen model's, frame by frame.

    Args:
        unit: Config of the temporal unit of each rung; its ``dim`` is filled in.
        layers: Blocks whose input tokens the ladder reads, from 0.
        side_dim: Width R of the ladder.
        pooling: See ``MotionBottleneck``.
        flow_as: See ``MotionBottleneck``.
        num_frames: See ``MotionBottleneck``.
        flow_grid: See ``MotionBottleneck``.
        output: ``"sum"`` adds the ladder to the frozen frame vector; ``"ladder"`` is the ladder
            alone, for data whose appearance only distracts; ``"frozen"`` is a plain probe of
            the frozen model, which shares kept features with the other two.
        variant: See :class:`ImageViT`.
        family: See :class:`ImageViT`.
        pretrained: See :class:`ImageViT`.
        image_size: See :class:`ImageViT`.
        num_registers: See :class:`ImageViT`.
        activation: See :class:`ImageViT`.
        readout: See :class:`ImageViT`.
    """

    def __init__(
        self,
        unit: dict[str, Any],
        *,
        layers: Sequence[int] = (2, 5, 8, 11),
        side_dim: int = 64,
        pooling: Pooling = "token",
        flow_as: FlowAs = "gain",
        num_frames: int = 32,
        flow_grid: int = 4,
        output: Literal["sum", "ladder", "frozen"] = "sum",
        variant: str | dict[str, int] = "b16",
        family: FamilyName = "clip",
        pretrained: str | None = None,
        image_size: int | None = None,
        num_registers: int = 0,
        activation: Activation | None = None,
        readout: Literal["cls", "patch"] = "cls",
    ) -> None:
        super().__init__(
            variant,
            family=family,
            pretrained=pretrained,
            image_size=image_size,
            num_registers=num_registers,
            activation=activation,
            readout=readout,
        )
        self.layers = check_layers("layers", layers, len(self.blocks))
        if output not in ("sum", "ladder", "frozen"):
            raise ValueError(f"output={output!r} must be one of 'sum', 'ladder', 'frozen'")
        self.output = output
        if output == "frozen":
            return
        if not self.layers:
            raise ValueError("layers=() must name at least one block for the ladder to read")
        self.rungs = nn.ModuleList(
            SideStep(
                self.embed_dim,
                MotionBottleneck(
                    side_dim,
                    build_unit(unit, side_dim),
                    pooling=pooling,
                    flow_as=flow_as,
                    num_frames=num_frames,
                    flow_grid=flow_grid,
                ),
                side_dim,
            )
            for _ in self.layers
        )
        self.side_norm = nn.LayerNorm(side_dim)
        make_up = zero_linear if output == "sum" else nn.Linear
        self.side_up = make_up(side_dim, self.embed_dim)

    def adapter_params(self) -> list[str]:
        """The way out of the ladder; the rungs declare themselves."""
        names = [name for name, _ in self.named_parameters()]
        return [name for name in names if name.startswith(("side_norm.", "side_up."))]

    def frozen_recipe(self) -> dict[str, Any]:
        """Describe what :meth:`extract_frozen` depends on beside the frozen weights."""
        return {
            "family": self.family,
            "activation": self.activation,
            "num_heads": self.blocks[0].attn.num_heads,
            "readout": self.readout,
            "layers": self.layers,
        }

    def extract_frozen(
        self, clips: Float[Tensor, "B 3 T height width"], flow: FlowModule | None
    ) -> FrozenFeatures:
        """Run the frozen model, without gradient, and return all that the ladder needs of it.

        An aligning encoder inside ``flow`` is not part of the frozen model and keeps its gradient.

        Returns:
            ``vector`` (B, T, C), the frozen frame vector; ``tokens`` (B, L, T, P, C), the patches
            at the inputs of the chosen blocks in half precision, the form in which they are kept;
            ``grid`` (B, 2); and ``flow`` (B, L, T, P) if ``flow`` measures attention maps.
        """
        in_callers_mode = torch.set_grad_enabled(torch.is_grad_enabled())
        measure = None if flow is None else in_callers_mode(flow.measure)
        tokens, flows = [], []
        with torch.no_grad():
            x, grid = self.embed(clips)
            for layer, block in enumerate(self.blocks):
                is_read = layer in self.layers
                if is_read:
                    tokens.append(x[:, :, self.num_prefix_tokens :].half())
                x, measured = block(x, grid, measure if is_read else None, layer)
                if measured is not None:
                    flows.append(measured)
            vector = self.read_out(x).float()
        frozen = {"vector": vector, "grid": torch.tensor(grid, device=x.device).expand(len(x), 2)}
        if tokens:
            with full_precision(x.device):  # autocast to bfloat16 refuses to stack half precision
                frozen["tokens"] = torch.stack(tokens, dim=1)
        if flows:
            frozen["flow"] = torch.stack(flows, dim=1)
        return frozen

    def forward(
        self,
        clips: Float[Tensor, "B 3 T height width"] | FrozenFeatures,
        flow: FlowModule | None = None,
        return_flow: bool = False,
    ) -> BackboneOutput:
        """Return the features of every frame.

        Args:
            clips: Normalised frames, or what :meth:`extract_frozen` returned for them.
            flow: The AM flow module; the ladder needs it.
            return_flow: Return the flow of the chosen blocks too.

        Raises:
            ValueError: ``flow`` is missing.
        """
        if self.output == "frozen":
            frozen = clips if isinstance(clips, dict) else self.extract_frozen(clips, None)
            return BackboneOutput(frozen["vector"])
        if flow is None:
            raise ValueError(
                "flow=None, but the ladder needs the motion of the patches: give the recognizer "
                "a neck (AMFlow, or UniformFlow for w = 1)"
            )
        frozen = clips if isinstance(clips, dict) else self.extract_frozen(clips, flow)
        grid = tuple(frozen["grid"][0].tolist())
        state, flows = None, []
        for index, (layer, rung) in enumerate(zip(self.layers, self.rungs, strict=True)):
            x = frozen["tokens"][:, index].float()
            measured = frozen["flow"][:, index] if "flow" in frozen else None
            w = flow.finish(measured, x, layer, grid)
            flows.append(w)
            state = rung(x, w, state, grid)
        motion = torch.stack(flows).mean(dim=0).unsqueeze(-1)
        pooled = (state * motion).sum(dim=2) / motion.sum(dim=2)
        side = self.side_up(self.side_norm(pooled))
        features = frozen["vector"] + side if self.output == "sum" else side
        return BackboneOutput(features, torch.stack(flows, dim=1) if return_flow else None)
