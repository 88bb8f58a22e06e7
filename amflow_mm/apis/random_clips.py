"""Clips of noise with labels: what a step costs does not depend on what is to be seen."""

from collections.abc import Mapping
from typing import Any

import torch
from mmaction.structures import ActionDataSample
from mmengine.dataset import pseudo_collate
from torch import Tensor
from torch.utils.data import Dataset

from amflow_mm.apis.complexity import ClipShape


class RandomClips(Dataset):
    """A data set of noise, the same clip for the same index.

    Args:
        num_clips: Clips in all.
        shape: Size of each.
        num_classes: Labels go round.
    """

    metainfo: Mapping[str, Any] = {}

    def __init__(self, num_clips: int, shape: tuple[int, int, int], num_classes: int) -> None:
        self.num_clips = num_clips
        self.shape = ClipShape(*shape)
        self.num_classes = num_classes

    def __len__(self) -> int:
        return self.num_clips

    def __getitem__(self, index: int) -> dict[str, Any]:
        pixels = torch.randint(
            256, (1, 3, *self.shape), dtype=torch.uint8, generator=_generator(index)
        )
        sample = ActionDataSample().set_gt_label(self._label(index))
        return {"inputs": pixels, "data_samples": sample}

    def get_data_info(self, index: int) -> dict[str, Any]:
        """Return the annotation of a clip."""
        return {"filename": f"noise {index}", "label": self._label(index)}

    def _label(self, index: int) -> int:
        return index % self.num_classes


def collate(dataset: Dataset, num_clips: int) -> dict[str, Any]:
    """Return the first clips of a data set as a batch, as the loader of a training does."""
    return pseudo_collate([dataset[index] for index in range(num_clips)])


def random_clips(batch_size: int, shape: ClipShape, device: torch.device) -> Tensor:
    """Return normalised clips of one view, as they enter a recognizer."""
    noise = torch.randn(batch_size, 1, 3, *shape, generator=_generator(0))
    return noise.to(device)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
