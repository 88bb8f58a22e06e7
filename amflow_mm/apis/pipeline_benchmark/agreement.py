"""Whether the subjects of a run read the same pictures: a faster one that reads others is none."""

from collections.abc import Sequence

import torch

from amflow_mm.apis.pipeline_benchmark.subject import Subject

NUM_COMPARED = 2
"""Videos that are looked at."""


def compare_frames(subjects: Sequence[Subject]) -> dict[str, dict[str, float]]:
    """Return how far each subject's frames are from those of the first on the same videos.

    In grey levels of 0 to 255, the mean over pixels of the absolute difference, for frames at
    fixed places. Encoding again and JPEG cost a few; a different frame of a moving picture tens.

    Args:
        subjects: The reference of each set of videos comes before the others.

    Returns:
        By set of videos, then by subject.
    """
    references: dict[str, torch.Tensor] = {}
    differences: dict[str, dict[str, float]] = {}
    for subject in subjects:
        dataset = subject.build_fixed_dataset()
        count = min(NUM_COMPARED, len(dataset))
        frames = torch.stack([dataset[index]["inputs"] for index in range(count)]).float()
        reference = references.setdefault(subject.videos, frames)
        difference = (frames - reference).abs().mean().item()
        differences.setdefault(subject.videos, {})[subject.name] = round(difference, 3)
    return differences
