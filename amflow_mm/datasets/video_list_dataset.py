"""VideoListDataset: videos and labels of a list, with a way to go on without the broken ones."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from mmaction.datasets import VideoDataset
from mmaction.datasets.transforms import DecordInit, OpenCVInit, PyAVInit
from numpy.typing import NDArray

from amflow_mm.datasets import storage
from amflow_mm.datasets.annotation_list import (
    Classes,
    LineLayout,
    locate,
    read_list,
)
from amflow_mm.datasets.randomness import isolated_randomness
from amflow_mm.datasets.skip_ledger import SKIPPED, SkipLedger, is_unreadable, reason_of
from amflow_mm.errors import UserError
from amflow_mm.registry import DATASETS, TRANSFORMS

MAX_FAILURES = 10
"""Videos that are tried for one sample: when so many fail in a row, it is not their own fault."""

HOST_READERS = (DecordInit, OpenCVInit, PyAVInit)


class NothingReadableError(UserError):
    """There is no video left that could stand in for a broken one."""


@DATASETS.register_module()
class VideoListDataset(VideoDataset):
    """MMAction2's ``VideoDataset`` with a checked list and a policy for files that cannot be read.

    Theirs ends the run at the first broken file. Here, with ``on_error="skip"``, another video of
    the same class takes its place, drawn from the sample's own randomness, so that runs repeat.
    The file is not opened again as long as the run lasts, whatever the workers. The sample tells
    what was skipped (``SKIPPED`` in its metainfo): ``SkippedVideosHook`` counts, logs and stops,
    and ``VideoAccuracy`` leaves the sample out, for a stand-in would falsify a test.

    A line is ``path label``; the label is what stands after the last delimiter, so that paths may
    hold blanks. With several labels a video (``multi_class``) they may not.

    Args:
        ann_file: List of the videos; path or URL.
        pipeline: Transforms; ``on_error="skip"`` needs ``VideoInit``, whose errors tell a broken
            file from a fault of the program.
        data_root: Folder or URL that a relative ``ann_file`` and ``data_prefix`` begin at.
        data_prefix: ``video``: folder or URL that relative paths of the list begin at.
        delimiter: What separates path and label; None for any blanks.
        num_classes: Bound of the labels.
        multi_class: Whether a video may have several labels; needs ``num_classes``.
        start_index: Number of the first frame.
        modality: What the frames show, for transforms that ask.
        test_mode: Whether samples are for validation or test.
        metainfo: Facts about the data set, such as its ``classes``.
        on_error: Whether a file that cannot be read ends the run or is skipped.
        max_skip_fraction: Share of the list, 0 to 1, above which skipped samples of an epoch stop
            the run. Public copies of the benchmarks lack or break a video in a hundred, a disk
            that fails or is not mounted breaks nearly all; the default lies between.
    """

    def __init__(
        self,
        ann_file: str,
        pipeline: Sequence[dict | Callable],
        *,
        data_root: str = "",
        data_prefix: dict[str, str] | None = None,
        delimiter: str | None = " ",
        num_classes: int | None = None,
        multi_class: bool = False,
        start_index: int = 0,
        modality: str = "RGB",
        test_mode: bool = False,
        metainfo: dict[str, Any] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
        max_skip_fraction: float = 0.05,
    ) -> None:
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error={on_error!r} must be 'raise' or 'skip'")
        if not 0 <= max_skip_fraction <= 1:
            raise ValueError(f"max_skip_fraction={max_skip_fraction} must be within 0 ... 1")
        if multi_class and num_classes is None:
            raise ValueError("multi_class=True needs num_classes, the length of a label vector")
        if on_error == "skip":
            _refuse_host_readers(pipeline)
        super().__init__(
            ann_file,
            pipeline=pipeline,
            data_root=data_root,
            data_prefix={"video": ""} if data_prefix is None else data_prefix,
            delimiter=delimiter,
            num_classes=num_classes,
            multi_class=multi_class,
            start_index=start_index,
            modality=modality,
            test_mode=test_mode,
            metainfo=metainfo,
        )
        self.on_error = on_error
        self.max_skip_fraction = max_skip_fraction
        self._ledger = SkipLedger(len(self)) if on_error == "skip" else None

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the list.

        Raises:
            StorageError: It cannot be read.
            AnnotationError: It is empty, or lines cannot be used.
        """
        layout = LineLayout(
            delimiter=self.delimiter, has_many_labels=self.multi_class, is_label_last=True
        )
        prefix = self.data_prefix.get("video") or ""
        classes = Classes(self.num_classes)
        clips = read_list(self.ann_file, layout, prefix=prefix, classes=classes)
        # Of several labels the first decides who may stand in: equal sets of labels are rare.
        self._labels = np.array([clip.labels[0] for clip in clips])
        return [
            {
                "filename": clip.path,
                "label": list(clip.labels) if self.multi_class else clip.labels[0],
            }
            for clip in clips
        ]

    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep a part of the videos: the first ones, the last ones, or those of some numbers."""
        super().get_subset_(indices)
        self._take(indices)

    def get_subset(self, indices: int | Sequence[int]) -> "VideoListDataset":
        """Return a data set of a part of the videos."""
        subset = super().get_subset(indices)
        subset._take(indices)
        return subset

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample, or with ``on_error="skip"`` one that stands in for it.

        Raises:
            UnreadableVideoError: ``on_error="raise"``, and the video cannot be read.
            NothingReadableError: Nothing can stand in for it.
        """
        if self._ledger is None:
            return self._load(index)
        start, skipped = torch.get_rng_state(), {}
        reason = self._ledger.reason(index)
        if reason is not None:
            skipped[self._name(index)] = reason
        elif (sample := self._try(index, skipped)) is not None:
            return sample
        # From where the generator stood: what a broken file has drawn before it failed, or that it
        # was not opened at all, makes no difference.
        return self._stand_in(index, skipped, torch.Generator().set_state(start))

    def _stand_in(
        self, index: int, skipped: dict[str, str], generator: torch.Generator
    ) -> dict[str, Any]:
        """Return a sample of another video."""
        seed = int(torch.randint(1 << 62, (), generator=generator))
        for candidate in self._candidates(index, generator):
            if self._ledger.reason(candidate) is None:
                with isolated_randomness(seed):
                    sample = self._try(candidate, skipped)
                if sample is not None:
                    _flag(sample, skipped)
                    return sample
        raise self._nothing_left(index)

    def _candidates(self, index: int, generator: torch.Generator) -> Iterator[int]:
        """Yield the videos that may stand in for one, best first."""
        is_same = self._labels == self._labels[index]
        yield from _shuffled(np.flatnonzero(is_same), generator)
        if self.test_mode:  # left out of the figures, whatever it shows
            yield from _shuffled(np.flatnonzero(~is_same), generator)

    def _try(self, index: int, skipped: dict[str, str]) -> dict[str, Any] | None:
        """Load a sample; if its video cannot be read, note it and return None."""
        try:
            return self._load(index)
        except Exception as error:
            if not is_unreadable(error):
                raise
            self._ledger.mark(index, reason_of(error))
            name = self._name(index)
            skipped[name] = str(error).removeprefix(f"{name}: ")
            if len(skipped) == MAX_FAILURES:
                raise NothingReadableError(
                    f"{MAX_FAILURES} videos in a row cannot be read, the last one is {name}: "
                    f"{skipped[name]}; look whether the disk or network is there"
                ) from error
            return None

    def _load(self, index: int) -> dict[str, Any]:
        sample = self.prepare_data(index)
        if sample is None:
            raise ValueError(
                f"the pipeline returned None for {self._name(index)}; a transform must return "
                "its results or raise"
            )
        return sample

    def _name(self, index: int) -> str:
        """Return the path of a video, for messages."""
        return storage.hide_secrets(self.get_data_info(index)["filename"])

    def _nothing_left(self, index: int) -> NothingReadableError:
        what = "no video" if self.test_mode else f"no video of class {self._labels[index]}"
        return NothingReadableError(
            f"{what} in {self.ann_file} can be read, so nothing can stand in for "
            f"{self._name(index)}; repair the videos, or take the class out of the list"
        )

    def _take(self, indices: int | Sequence[int]) -> None:
        """Keep the labels of a part of the videos, whose numbers change; none is marked."""
        if isinstance(indices, int):
            indices = range(len(self._labels))[
                slice(indices) if indices >= 0 else slice(indices, None)
            ]
        self._labels = self._labels[list(indices)]
        if self._ledger is not None:
            self._ledger = SkipLedger(len(self))

    def _join_prefix(self) -> None:
        """Join ``data_root`` in front; MMEngine would join it in front of most URLs too."""
        self.ann_file = locate(self.data_root, self.ann_file)
        self.data_prefix = {k: locate(self.data_root, v) for k, v in self.data_prefix.items()}


def _shuffled(indices: NDArray[np.integer], generator: torch.Generator) -> Iterator[int]:
    order = torch.randperm(len(indices), generator=generator)
    return iter(indices[order.numpy()].tolist())


def _flag(sample: Any, skipped: dict[str, str]) -> None:
    """Let a sample tell for which videos it stands in."""
    if not isinstance(sample, dict) or "data_samples" not in sample:
        raise ValueError(
            "on_error='skip' needs a pipeline that ends with PackActionInputs: data_samples tells "
            "what was skipped"
        )
    sample["data_samples"].set_metainfo({SKIPPED: skipped})


def _refuse_host_readers(node: Any) -> None:
    """Refuse readers for whose errors nobody can say whether the file is at fault.

    decord raises a plain ``RuntimeError`` for a broken file, and decodes others without a word.
    """
    if isinstance(node, dict):
        kind = node.get("type")
        kind = TRANSFORMS.get(kind) if isinstance(kind, str) else kind
        if kind in HOST_READERS:
            raise UserError(
                f"on_error='skip' needs VideoInit and VideoDecode in place of {kind.__name__}: "
                "its errors do not tell a broken file from a fault of the program"
            )
        for value in node.values():
            _refuse_host_readers(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            _refuse_host_readers(value)
