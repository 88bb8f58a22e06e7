"""AMFlowRecognizer: hands the neck to the backbone and folds the views of a video."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from mmaction.models.recognizers.base import BaseRecognizer
from torch import Tensor, nn

from amflow_mm.models.peft import freeze_except, keep_frozen_in_eval
from amflow_mm.registry import MODELS

Clips = Float[Tensor, "B V 3 T height width"] | Mapping[str, Tensor]
Stage = Literal["backbone", "neck", "head", "flow"]


@MODELS.register_module()
class AMFlowRecognizer(BaseRecognizer):
    """Recognizer whose neck is called *inside* the backbone, between attention and adapter.

    MMAction2's recognizers call a neck on the features; here the backbone receives it as an
    argument of its ``forward``. On construction everything that no module declares as trained
    is frozen.

    Args:
        backbone: Config of the backbone.
        cls_head: Config of the head.
        neck: Config of the flow; ``None`` for backbones without temporal adapters.
        data_preprocessor: Config of the preprocessor; always stated, since MMAction2's default
            is looked up by name.
        max_testing_views: Views that go through the backbone at once at test time; ``None``
            for all of a batch.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        cls_head: dict[str, Any],
        data_preprocessor: dict[str, Any],
        *,
        neck: dict[str, Any] | None = None,
        max_testing_views: int | None = None,
    ) -> None:
        super().__init__(
            backbone, cls_head=cls_head, neck=neck, data_preprocessor=data_preprocessor
        )
        if max_testing_views is not None and max_testing_views < 1:
            raise ValueError(f"max_testing_views={max_testing_views} must be >= 1 or None")
        self.max_testing_views = max_testing_views
        self.parameter_report = freeze_except(self)

    def init_weights(self) -> None:
        """Initialise; image weights learn how frames are normalised, and warn if not as theirs."""
        init_cfg = getattr(self.backbone, "init_cfg", None)
        if isinstance(init_cfg, dict) and init_cfg.get("type") == "PretrainedImageViT":
            self.backbone.init_cfg = init_cfg | _normalization(self.data_preprocessor)
        super().init_weights()

    def train(self, mode: bool = True) -> "AMFlowRecognizer":
        """Set the mode of what is trained; the frozen parts stay in evaluation mode."""
        super().train(mode)
        keep_frozen_in_eval(self)
        return self

    def extract_feat(
        self,
        inputs: Clips,
        stage: Stage = "backbone",
        data_samples: list[Any] | None = None,
        test_mode: bool = False,
    ) -> tuple[Tensor, dict[str, Any]]:
        """Return the tensor of a stage and, as MMAction2 expects, no further arguments.

        Args:
            inputs: Clips, V views a video; or frozen features of them (``AMFlowSideViT``).
            stage: ``"backbone"`` or ``"neck"`` (the neck works inside the backbone): frame
                vectors (B*V, T, C); ``"head"``: scores (B*V, K); ``"flow"``: the flow
                (B*V, L, T, P) of the blocks.
            data_samples: Not used; part of MMAction2's signature.
            test_mode: Whether to obey ``max_testing_views``.

        Raises:
            ValueError: An unknown stage, or no flow was measured.
        """
        del data_samples
        if stage not in ("backbone", "neck", "head", "flow"):
            raise ValueError(f"stage={stage!r} must be one of 'backbone', 'neck', 'head', 'flow'")
        neck = self.neck if self.with_neck else None
        outputs = [
            self.backbone(views, flow=neck, return_flow=stage == "flow")
            for views in self._chunks(_fold_views(inputs), test_mode)
        ]
        if stage == "flow":
            flows = [output.flow for output in outputs]
            if any(flow is None for flow in flows):
                raise ValueError(
                    f"stage='flow', but {type(self.backbone).__name__} measured none: give the "
                    "recognizer a neck (AMFlow) and a backbone that asks it"
                )
            return torch.cat(flows), {}
        features = torch.cat([output.features for output in outputs])
        return (self.cls_head(features) if stage == "head" else features), {}

    def _chunks(self, views: Any, test_mode: bool) -> list[Any]:
        if self.max_testing_views is None or not test_mode:
            return [views]
        if isinstance(views, Mapping):
            parts = {name: value.split(self.max_testing_views) for name, value in views.items()}
            return [
                dict(zip(parts, part, strict=True)) for part in zip(*parts.values(), strict=True)
            ]
        return list(views.split(self.max_testing_views))


def _normalization(data_preprocessor: nn.Module) -> dict[str, tuple[float, ...]]:
    """Mean and deviation of each channel; those of raw pixels where it does not normalise."""
    values = {}
    for name, default in (("mean", 0.0), ("std", 1.0)):
        buffer = getattr(data_preprocessor, name, None)
        values[name] = (default,) * 3 if buffer is None else tuple(buffer.flatten().tolist())
    return values


def _fold_views(inputs: Clips) -> Any:
    """(B, V, ...) to (B*V, ...)."""
    if isinstance(inputs, Mapping):
        return {name: value.flatten(0, 1) for name, value in inputs.items()}
    if inputs.ndim != 6:
        raise ValueError(
            f"inputs of shape {tuple(inputs.shape)} must have six axes, (B, V, 3, T, height, "
            "width): use FormatShape(input_format='NCTHW') in the pipeline"
        )
    return inputs.flatten(0, 1)
