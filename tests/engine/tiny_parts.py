"""A model and a transform small enough to train in a test; configs import this module by name."""

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmengine.model import BaseModel
from torch import Tensor, nn

from amflow_mm.registry import MODELS, TRANSFORMS


@TRANSFORMS.register_module()
class LoadArray(BaseTransform):
    """Read a clip that was saved as an array, 1 3 T height width."""

    def transform(self, results: dict) -> dict:
        results["imgs"] = np.load(results["filename"])
        return results


@TRANSFORMS.register_module()
class RandomGain(BaseTransform):
    """A random augmentation that draws from numpy, as those of MMAction2 do."""

    def transform(self, results: dict) -> dict:
        results["imgs"] = results["imgs"] * np.random.uniform(0.5, 1.5)
        return results


@MODELS.register_module()
class TinyHead(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(7, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


@MODELS.register_module()
class TinyRecognizer(BaseModel):
    """Frozen projection, trained position, norm, dropout and head."""

    def __init__(
        self, cls_head: dict, data_preprocessor: dict, *, dropout: float = 0.0, init_cfg=None
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.frozen = nn.Linear(3, 7).requires_grad_(False)
        self.position = nn.Parameter(torch.zeros(1, 5, 7))
        self.mixer = nn.Linear(7, 7)
        self.norm = nn.LayerNorm(7)
        self.dropout = nn.Dropout(dropout)
        self.cls_head = MODELS.build(cls_head)

    def extract_feat(self, inputs: Tensor, stage: str = "backbone") -> tuple[Tensor, dict]:
        frames = inputs.mean(dim=(1, 4, 5)).transpose(1, 2)  # B T 3
        x = self.frozen(frames) + self.position[:, : frames.shape[1]]
        if stage == "flow":
            return x.unsqueeze(1).softmax(-1) * 7, {}  # B L T P
        return self.dropout(self.norm(self.mixer(x).mean(1))), {}

    def forward(self, inputs: Tensor, data_samples: list, mode: str = "tensor"):
        scores = self.cls_head(self.extract_feat(inputs)[0])
        if mode == "loss":
            labels = torch.cat([sample.gt_label for sample in data_samples])
            return {"loss_cls": F.cross_entropy(scores, labels)}
        if mode == "predict":
            for sample, score in zip(data_samples, scores.softmax(-1), strict=True):
                sample.set_pred_score(score)
            return data_samples
        return scores
