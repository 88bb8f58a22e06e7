"""TemporalMeanHead: mean over the frames, dropout, one linear layer."""

from typing import Any, Literal

from jaxtyping import Float
from mmaction.models.heads.base import BaseHead
from torch import Tensor, nn

from amflow_mm.models.layers import full_precision
from amflow_mm.registry import MODELS


@MODELS.register_module()
class TemporalMeanHead(BaseHead):
    """Classify the mean frame vector.

    Args:
        num_classes: Classes K.
        in_channels: Width of the frame vectors.
        dropout_ratio: Dropout before the linear layer, a fraction.
        init_std: Standard deviation of the linear layer's initial weights.
        loss_cls: Config of the loss.
        multi_class: Whether a clip may have several labels.
        label_smooth_eps: Label smoothing, a fraction.
        topk: The k of the top-k accuracies that are logged in training.
        average_clips: How the views of a video are averaged at test time: their scores, their
            probabilities, or not at all, which MMAction2's ``AccMetric`` miscounts.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        *,
        dropout_ratio: float = 0.5,
        init_std: float = 0.01,
        loss_cls: dict[str, Any] | None = None,
        multi_class: bool = False,
        label_smooth_eps: float = 0.0,
        topk: int | tuple[int, ...] = (1, 5),
        average_clips: Literal["score", "prob"] | None = "prob",
    ) -> None:
        if average_clips not in ("score", "prob", None):
            raise ValueError(f"average_clips={average_clips!r} must be 'score', 'prob' or None")
        super().__init__(
            num_classes,
            in_channels,
            loss_cls=loss_cls or {"type": "CrossEntropyLoss"},
            multi_class=multi_class,
            label_smooth_eps=label_smooth_eps,
            topk=topk,
            average_clips=average_clips,
        )
        self.dropout = nn.Dropout(dropout_ratio)
        self.fc_cls = nn.Linear(in_channels, num_classes)
        self.init_std = init_std

    def init_weights(self) -> None:
        """Draw the linear layer anew."""
        nn.init.normal_(self.fc_cls.weight, std=self.init_std)
        nn.init.zeros_(self.fc_cls.bias)

    def adapter_params(self) -> list[str]:
        """Everything here is trained."""
        return [name for name, _ in self.named_parameters()]

    def forward(self, feats: Float[Tensor, "B T C"]) -> Float[Tensor, "B K"]:
        """Return the scores of the classes, in full precision also under autocast.

        MMAction2 hands them to numpy, which knows no bfloat16.
        """
        with full_precision(feats.device):
            return self.fc_cls(self.dropout(feats.float().mean(dim=1)))
