"""What is measured: a pipeline over videos, named, and built anew for each measurement."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmaction.datasets import VideoDataset
from mmengine.dataset import BaseDataset, pseudo_collate

from amflow_mm.apis.pipeline_benchmark.pipelines import Step, packing
from amflow_mm.apis.pipeline_benchmark.video_set import DELIMITER


@dataclass(frozen=True)
class Subject:
    """One row of a table.

    Attributes:
        name: Of the pipeline, such as ``ours, clip cache``.
        videos: Name of the source set, under which subjects are compared.
        ann_file: List of the videos that are read, in the order of the source set; what the
            dataset asks for first.
        files: What is read from disk: the videos, or the files of a cache.
        frames: Steps from a path to frames of one size.
        fixed_frames: The same for frames that are not drawn at random.
        tail: Steps from frames to a packed clip.
        dataset: Class of the dataset.
        dataset_options: Its other arguments.
        collate: Makes a batch of samples.
    """

    name: str
    videos: str
    ann_file: Path
    files: tuple[Path, ...]
    frames: tuple[Step, ...] = ()
    fixed_frames: tuple[Step, ...] = ()
    tail: tuple[Step, ...] = ()
    dataset: type[BaseDataset] = VideoDataset
    dataset_options: Mapping[str, Any] = field(default_factory=lambda: {"delimiter": DELIMITER})
    collate: Callable[..., Any] = pseudo_collate

    def build_dataset(self) -> BaseDataset:
        """Build the dataset of the videos, as a config would."""
        return self._build(self.frames + self.tail)

    def build_fixed_dataset(self) -> BaseDataset:
        """Build a dataset of the same frames at every visit, uncropped."""
        return self._build(self.fixed_frames + packing())

    def _build(self, pipeline: tuple[Step, ...]) -> BaseDataset:
        return self.dataset(
            str(self.ann_file),
            pipeline=[dict(step) for step in pipeline],
            **self.dataset_options,
        )
