"""What a model costs: parameters and multiply-accumulates, part by part, without data or memory.

Conventions:

- One MAC is one multiplication and the addition that goes with it. Counted are the products of
  matrices and the convolutions: linear layers, patch embedding, both products of every attention
  (fused kernels too, which other counters take for zero), the maps of AM flow and their warp.
  Biases, norms, activations, softmaxes and other elementwise work are not counted.
- One GMAC is two GFLOPs. Much of the literature prints MACs under the name FLOPs.
- A *view* is one clip, one crop. A video costs as many as the test pipeline takes of it.

The model runs on torch's meta device, where tensors have shapes and no values, so neither
weights files nor memory for them are needed.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from amflow_mm.apis.model_parts import LABELS, PARTS, Part, announced, find_parts, part_of
from amflow_mm.datasets.transforms.cached_clip import flat_steps
from amflow_mm.engine.errors import UserError
from amflow_mm.models import AMFlowSideViT
from amflow_mm.registry import MODELS, TRANSFORMS

FUSED = ("attention", "lstm", "gru", "rnn")
"""Words in the names of kernels that hide products."""


class ClipShape(NamedTuple):
    """Size of a clip: frames, and pixels of each."""

    num_frames: int
    height: int
    width: int


@dataclass(frozen=True)
class PartCost:
    """Cost of one part of a model.

    Args:
        parameters: All parameters.
        trainable: Those that are trained.
        macs: Multiply-accumulates of one view.
    """

    parameters: int
    trainable: int
    macs: int


@dataclass(frozen=True)
class Complexity:
    """Cost of a model.

    Args:
        shape: The view that it was counted for.
        parts: Cost of each part.
    """

    shape: ClipShape
    parts: dict[Part, PartCost]

    @property
    def total(self) -> PartCost:
        """Sum over the parts."""
        return PartCost(
            parameters=sum(part.parameters for part in self.parts.values()),
            trainable=sum(part.trainable for part in self.parts.values()),
            macs=sum(part.macs for part in self.parts.values()),
        )

    def __str__(self) -> str:
        """Format a table: part, parameters, trainable, GMACs, GFLOPs, per cent of the MACs."""
        total = self.total
        frames = f"{self.shape.num_frames} frames of {self.shape.height} x {self.shape.width}"
        lines = [
            f"one view, {frames}",
            f"{'part':<12}{'parameters':>14}{'trainable':>14}{'GMACs':>11}{'GFLOPs':>11}{'%':>7}",
        ]
        for name, part in [*self.parts.items(), ("all", total)]:
            lines.append(
                f"{LABELS.get(name, name):<12}{part.parameters:>14,}{part.trainable:>14,}"
                f"{part.macs / 1e9:>11.3f}{2 * part.macs / 1e9:>11.3f}"
                f"{100 * part.macs / max(total.macs, 1):>7.2f}"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Views:
    """What a test pipeline makes of a video.

    Args:
        num_views: Clips times crops.
        shape: Size of each; ``None`` where it depends on the video.
    """

    num_views: int
    shape: ClipShape | None


def build_on_meta(cfg: Config) -> nn.Module:
    """Build a config's model without memory or weights files, in evaluation mode."""
    init_default_scope(cfg.get("default_scope", "amflow_mm"))
    with torch.device("meta"):
        return MODELS.build(cfg.model).eval()


@torch.no_grad()
def measure_complexity(model: nn.Module, shape: ClipShape) -> Complexity:
    """Count what one view costs.

    Args:
        model: Recognizer on any device, best on meta (:func:`build_on_meta`).
        shape: Size of the clip.
    """
    roots = find_parts(model)
    with announced(model, roots, (counter := _MacCounter()).attribute):
        counter.watch(lambda: model(_make_inputs(model, shape), stage="head"))
    parameters: Counter[Part] = Counter()
    trainable: Counter[Part] = Counter()
    for name, parameter in model.named_parameters():
        part = part_of(name, roots)
        parameters[part] += parameter.numel()
        trainable[part] += parameter.numel() * parameter.requires_grad
    parts = {
        part: PartCost(parameters[part], trainable[part], counter.macs[part]) for part in PARTS
    }
    return Complexity(shape, parts)


def count_macs(run: Callable[[], Any]) -> int:
    """Return the MACs of all that a function runs; on the meta device it costs nothing."""
    counter = _MacCounter()
    counter.watch(run)
    return counter.macs.total()


def count_view_macs(
    model: nn.Module, shape: ClipShape, *, training: bool = False, from_features: bool = False
) -> int:
    """Return the MACs of one view: of the forward pass, or of a training step.

    The backward pass is what runs, not a multiple of the forward pass: it ends at the lowest
    trained parameter and forms no gradients of frozen weights. Optimisers multiply no matrices.

    Args:
        model: Recognizer on any device, best on meta (:func:`build_on_meta`).
        shape: Size of the clip.
        training: Whether the backward pass follows.
        from_features: Without the frozen model of a side ladder, whose features are given.
    """
    device = next(model.parameters()).device
    clip = torch.zeros(1, 1, 3, *shape, device=device)
    inputs = _make_inputs(model, shape) if from_features else clip

    def run() -> None:
        scores = model(inputs, stage="head")
        if training:
            scores.sum().backward()

    was_training = model.training
    with torch.set_grad_enabled(training):
        model.train(training)
        macs = count_macs(run)
    model.train(was_training).zero_grad()
    return macs


def read_views(cfg: Config) -> Views | None:
    """Read from the test pipeline of a config how many views of which size it takes.

    Blank frames of two sizes go through its steps, so that whatever a pipeline does is counted.

    Returns:
        ``None`` if the config tests nothing.
    """
    dataset = (cfg.get("test_dataloader") or {}).get("dataset")
    while dataset is not None and "dataset" in dataset:  # a data set that wraps another
        dataset = dataset["dataset"]
    if dataset is None:
        return None
    init_default_scope(cfg.get("default_scope", "amflow_mm"))
    shapes = [_pass_blank_frames(dataset["pipeline"], *size) for size in ((240, 320), (448, 426))]
    num_views, _, *shape = shapes[0]
    return Views(num_views, ClipShape(*shape) if shapes[0] == shapes[1] else None)


class _MacCounter(TorchDispatchMode):
    """Counts the MACs of all that torch runs, for the part that is at work."""

    def __init__(self) -> None:
        super().__init__()
        self.macs: Counter[Part] = Counter()
        self._at_work: list[Part] = ["frozen_vit"]

    def watch(self, run: Callable[[], Any]) -> None:
        """Run a function and count."""
        # The kernel for one product after the other: the fused ones do not show theirs.
        with self, sdpa_kernel(SDPBackend.MATH):
            run()

    def attribute(self, part: Part, method: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a method so that what runs inside it counts for ``part``."""

        def attributed(*args: Any, **kwargs: Any) -> Any:
            self._at_work.append(part)
            try:
                return method(*args, **kwargs)
            finally:
                self._at_work.pop()

        return attributed

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        del types
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        operator = func.overloadpacket
        if operator is torch.ops.aten.convolution_backward:
            self.macs[self._at_work[-1]] += _conv_backward_macs(*args)
        elif operator in flop_registry:
            flops = flop_registry[operator](*args, **kwargs, out_val=out)
            self.macs[self._at_work[-1]] += flops // 2
        elif any(word in operator.__name__ for word in FUSED):
            raise ValueError(
                f"{operator} hides its products and would count as zero; run the model on the "
                "meta device, or register a formula with torch.utils.flop_counter"
            )
        return out


def _conv_backward_macs(gradient: Tensor, x: Tensor, weight: Tensor, *options: Any) -> int:
    """Return the MACs of a convolution's way back: each gradient takes as many as the way there.

    torch's own formula knows no groups: of a depthwise convolution it makes a dense one.
    """
    *_, is_transposed, _, _, output_mask = options
    reached = x if is_transposed else gradient
    return reached.numel() * weight[0].numel() * sum(output_mask[:2])


def _make_inputs(model: nn.Module, shape: ClipShape) -> Tensor | dict[str, Tensor]:
    """Return one clip of one view; of a side ladder's frozen model, what it yields for it."""
    device = next(model.parameters()).device
    clip = torch.zeros(1, 1, 3, *shape, device=device)
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, AMFlowSideViT):
        return clip
    frozen = backbone.extract_frozen(clip[:, 0], model.neck if model.with_neck else None)
    return {name: value.unsqueeze(0) for name, value in frozen.items()}


def _pass_blank_frames(pipeline: list[dict], height: int, width: int) -> tuple[int, ...]:
    """Return the shape that a pipeline makes of a video of 1000 blank frames, (V, 3, T, h, w)."""
    results: dict[str, Any] = {
        "filename": "blank.mp4", "label": 0, "modality": "RGB",
        "total_frames": 1000, "start_index": 0, "avg_fps": 30,
    }  # fmt: skip
    for kind, step in flat_steps(pipeline):
        if kind.__name__.endswith("Decode"):
            blank = np.zeros((height, width, 3), np.uint8)
            results["imgs"] = [blank] * len(results["frame_inds"])
            results["img_shape"] = results["original_shape"] = (height, width)
        elif not kind.__name__.endswith("Init"):
            results = TRANSFORMS.build(step)(results)
    shape = tuple(results["inputs"].shape)
    if len(shape) != 5:
        raise UserError(
            f"the test pipeline yields inputs of shape {shape}, not (views, 3, T, height, width): "
            "its FormatShape must have input_format='NCTHW'"
        )
    return shape
