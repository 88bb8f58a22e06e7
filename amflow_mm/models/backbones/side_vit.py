"""AMFlowSideViT: a ladder of temporal adapters beside a frozen image transformer.

The frozen model runs without gradient; a training step costs about one forward pass, and what
the ladder reads of the frozen model can be computed once and kept:

    state = rung(x_l, w_l, state)        x_l: frozen patch tokens at the input of block l
    frame vector = final frozen vector + W_up LN(state)

The rungs stand in ``amflow_mm/models/layers/side_ladder.py``.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from amflow_mm.models.backbones.image_vit import ImageViT
from amflow_mm.models.backbones.output import BackboneOutput
from amflow_mm.models.backbones.vit_layouts import FamilyName, check_layers
from amflow_mm.models.layers import (
    FlowModule,
    FrameRung,
    Grid,
    TokenRung,
    full_precision,
    zero_linear,
)
from amflow_mm.models.layers.adapter import FlowAs, Pooling
from amflow_mm.models.layers.mlp import Activation
from amflow_mm.models.registered_layers import build_unit
from amflow_mm.registry import MODELS

FrozenFeatures = dict[str, Tensor]
FrozenDtype = Literal["float32", "bfloat16"]


@MODELS.register_module()
class AMFlowSideViT(ImageViT):
    """Side adaptation: no gradient enters the frozen transformer.

    With a fresh ladder its features equal the frozen model's, frame by frame.

    Args:
        unit: Config of the temporal unit of each rung; its ``dim`` is filled in.
        layers: Blocks whose input tokens the ladder reads, from 0.
        side_dim: Width R of the ladder.
        pooling: ``"token"`` keeps a state at every patch (``TokenRung``), ``"global"`` one vector
            a frame (``FrameRung``).
        flow_as: How the flow enters: as a gain, as an input feature, or both.
        num_frames: Frames that the temporal position knows, at least T.
        flow_grid: Side of the coarse map of the flow (global pooling only).
        output: ``"sum"`` adds the ladder to the frozen frame vector; ``"ladder"`` is the ladder
            alone, for data whose appearance only distracts; ``"frozen"`` is a plain probe of
            the frozen model, which shares kept features with the other two.
        frozen_dtype: Of the matrix products in the frozen model. ``"float32"`` whatever the rest
            of the run is trained in; ``"bfloat16"`` is faster and shakes the last digits, of the
            flow too. Kept features know which.
        variant: See :class:`ImageViT`.
        family: See :class:`ImageViT`.
        pretrained: See :class:`ImageViT`.
        image_size: See :class:`ImageViT`.
        num_registers: See :class:`ImageViT`.
        activation: See :class:`ImageViT`.
        readout: See :class:`ImageViT`.
        compile_blocks: See :class:`ImageViT`.
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
        frozen_dtype: FrozenDtype = "float32",
        variant: str | dict[str, int] = "b16",
        family: FamilyName = "clip",
        pretrained: str | None = None,
        image_size: int | None = None,
        num_registers: int = 0,
        activation: Activation | None = None,
        readout: Literal["cls", "patch"] = "cls",
        compile_blocks: bool = False,
    ) -> None:
        super().__init__(
            variant,
            family=family,
            pretrained=pretrained,
            image_size=image_size,
            num_registers=num_registers,
            activation=activation,
            readout=readout,
            compile_blocks=compile_blocks,
        )
        self.layers = check_layers("layers", layers, len(self.blocks))
        if output not in ("sum", "ladder", "frozen"):
            raise ValueError(f"output={output!r} must be one of 'sum', 'ladder', 'frozen'")
        if frozen_dtype not in get_args(FrozenDtype):
            raise ValueError(
                f"frozen_dtype={frozen_dtype!r} must be one of {get_args(FrozenDtype)}"
            )
        self.output = output
        self.frozen_dtype = frozen_dtype
        if output == "frozen":
            return
        if not self.layers:
            raise ValueError("layers=() must name at least one block for the ladder to read")
        self.rungs = nn.ModuleList(
            self._make_rung(
                build_unit(unit, side_dim), side_dim, pooling, flow_as, num_frames, flow_grid
            )
            for _ in self.layers
        )
        self.side_norm = nn.LayerNorm(side_dim)
        make_up = zero_linear if output == "sum" else nn.Linear
        self.side_up = make_up(side_dim, self.embed_dim)

    def _make_rung(
        self,
        unit: nn.Module,
        side_dim: int,
        pooling: Pooling,
        flow_as: FlowAs,
        num_frames: int,
        flow_grid: int,
    ) -> nn.Module:
        if pooling == "token":
            return TokenRung(self.embed_dim, side_dim, unit, flow_as=flow_as, num_frames=num_frames)
        if pooling == "global":
            return FrameRung(
                self.embed_dim,
                side_dim,
                unit,
                flow_as=flow_as,
                num_frames=num_frames,
                flow_grid=flow_grid,
            )
        raise ValueError(f"pooling={pooling!r} must be one of 'global', 'token'")

    def adapter_params(self) -> list[str]:
        """The way out of the ladder; the rungs declare themselves."""
        names = [name for name, _ in self.named_parameters()]
        return [name for name in names if name.startswith(("side_norm.", "side_up."))]

    def frozen_recipe(self) -> dict[str, Any]:
        """Describe what :meth:`extract_frozen` depends on beside the frozen weights."""
        recipe = {
            "family": self.family,
            "activation": self.activation,
            "num_heads": self.blocks[0].attn.num_heads,
            "readout": self.readout,
            "layers": self.layers,
            "form": "tokens on their grid, stand-ins marked",  # kept in another form: computed anew
        }
        if self.frozen_dtype != "float32":
            recipe["frozen_dtype"] = self.frozen_dtype
        return recipe

    def extract_frozen(
        self, clips: Float[Tensor, "B 3 T height width"], flow: FlowModule | None
    ) -> FrozenFeatures:
        """Run the frozen model, without gradient, and return all that the ladder needs of it.

        An aligning encoder inside ``flow`` is not part of the frozen model and keeps its gradient.

        Returns:
            ``vector`` (B, T, C), the frozen frame vector; ``tokens`` (B, L, T, rows, columns, C),
            the patches at the inputs of the chosen blocks in half precision, the form in which
            they are kept; and ``flow`` (B, L, T, P) if ``flow`` measures attention maps.
        """
        in_callers_mode = torch.set_grad_enabled(torch.is_grad_enabled())
        measure = None if flow is None else in_callers_mode(flow.measure)
        frozen, flows = {}, []
        # Neither how a run trains nor whether its features were kept shall change them.
        with torch.no_grad(), self._precision(clips.device):
            x, grid = self.embed(clips)
            if self.layers:
                frozen["tokens"] = self._empty_tokens(x, grid)
            for layer, block in enumerate(self.blocks):
                is_read = layer in self.layers
                if is_read:
                    patches = x[:, :, self.num_prefix_tokens :].unflatten(2, grid)
                    frozen["tokens"][:, self.layers.index(layer)] = patches
                x, measured = block(x, grid, measure if is_read else None, layer)
                if measured is not None:
                    flows.append(measured)
            frozen["vector"] = self.read_out(x)
        if flows:
            frozen["flow"] = torch.stack(flows, dim=1)
        return frozen

    def _precision(self, device: torch.device) -> AbstractContextManager[None]:
        if self.frozen_dtype == "float32":
            return full_precision(device)
        return torch.autocast(device.type, torch.bfloat16)

    def _empty_tokens(
        self, x: Float[Tensor, "B T N C"], grid: Grid
    ) -> Float[Tensor, "B L T rows columns C"]:
        """Make room for the tokens in half precision: written in place, they are copied once.

        The shape tells the grid. A tensor of its numbers would have to be waited for on a GPU and
        has none on the meta device.
        """
        shape = (x.shape[0], len(self.layers), x.shape[1], *grid, x.shape[3])
        return x.new_empty(shape, dtype=torch.float16)

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
        grid = tuple(frozen["tokens"].shape[3:5])
        state, flows = None, []
        for index, (layer, rung) in enumerate(zip(self.layers, self.rungs, strict=True)):
            x = frozen["tokens"][:, index].flatten(2, 3).float()
            measured = frozen["flow"][:, index] if "flow" in frozen else None
            w = flow.finish(measured, x, layer, grid)
            flows.append(w)
            state = rung(x, w, grid, state)
        pooled = rung.frame_vectors(state, torch.stack(flows).mean(dim=0))
        side = self.side_up(self.side_norm(pooled))
        features = frozen["vector"] + side if self.output == "sum" else side
        return BackboneOutput(features, torch.stack(flows, dim=1) if return_flow else None)
