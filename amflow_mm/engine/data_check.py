"""Look at a config's files before anything is built, and say what is missing or wrong.

Without this a missing list ends in a traceback from a data worker, a label outside the classes in
an assertion on the GPU, and a video that is not there in the middle of the first epoch.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmaction.datasets import RawframeDataset, VideoDataset
from mmengine.config import Config

from amflow_mm.datasets import storage
from amflow_mm.datasets.annotation_list import (
    AnnotationError,
    Classes,
    LineLayout,
    ListedClip,
    Problem,
    describe_problems,
    locate,
    parse_list,
    read_lines,
)
from amflow_mm.datasets.shards import ShardedVideoDataset, check_index
from amflow_mm.datasets.video_list_dataset import VideoListDataset
from amflow_mm.engine.checkpoint import require_file
from amflow_mm.engine.errors import MissingFileError
from amflow_mm.engine.list_overlap import CheckedList, find_conflicts, find_overlaps
from amflow_mm.registry import DATASETS

MAX_LOOKUPS = 20_000
"""Listed files that are looked up, evenly over the list: seconds also on a network disk."""

MAX_REMOTE_LOOKUPS = 50
"""The same for files behind URLs, each a request: enough to notice a wrong bucket or folder."""

FETCHED_SOURCES = ("hf:", "mmpretrain::")
"""Beginnings of ``pretrained`` that are no paths though they may have a suffix."""

LOCAL_BACKENDS = (None, "disk", "local")


def check_data(cfg: Config, loaders: Sequence[str]) -> None:
    """Check the lists and files of some loaders.

    Warns of videos that are both trained and tested on, and of videos with two labels.

    Args:
        cfg: Config; ``data_help`` tells how the data is made, ``model.cls_head.num_classes``
            bounds the labels.
        loaders: Names such as ``train_dataloader``; one that the config lacks is skipped.

    Raises:
        MissingFileError: A list, a folder or a listed file does not exist. Of long lists a part
            is looked up, of files behind URLs a small one.
        AnnotationError: Lines of a list cannot be used.
        ShardError: An index of shards is damaged, has a label outside the classes, or a shard is
            missing.
        StorageError: A list or an index behind a URL cannot be read.
    """
    num_classes = (cfg.get("model", {}).get("cls_head") or {}).get("num_classes")
    advice = f"to get it: {cfg.data_help}" if cfg.get("data_help") else None
    found: dict[str, list[CheckedList]] = {"train": [], "test": []}
    for loader in loaders:
        # Data sets stand inside others that repeat or join them.
        for where, part in _find_dicts(cfg.get(loader) or {}, loader):
            check = _DatasetCheck(part, where, num_classes, advice)
            if part.get("ann_file"):
                found["train" if loader.startswith("train") else "test"].append(check.run())
            elif check.reads_shards():
                check.run_on_shards()
    train, test = ({c.name: c for c in lists if c.clips}.values() for lists in found.values())
    for finding in (*find_conflicts([*train, *test]), *find_overlaps(train, test)):
        warnings.warn(finding, stacklevel=2)


def check_weights(cfg: Config) -> None:
    """Check that the files of pretrained weights exist.

    Raises:
        MissingFileError: One does not.
    """
    for where, part in _find_dicts(cfg.get("model", {}), "model"):
        keys = ("checkpoint", "source") if where.endswith(".init_cfg") else ("pretrained",)
        for key in keys:
            path = part.get(key)
            # Named weights have no suffix.
            if isinstance(path, str) and Path(path).suffix and not path.startswith(FETCHED_SOURCES):
                require_file(
                    os.path.expanduser(path),
                    "weights file",
                    named_by=f"{where}.{key}",
                    advice="docs/weights.md tells where to get it",
                )


def _find_dicts(node: Any, where: str) -> Iterator[tuple[str, dict]]:
    """Yield every dict inside, outer ones first, with its path."""
    if isinstance(node, dict):
        yield where, node
        for key, value in node.items():
            yield from _find_dicts(value, f"{where}.{key}")
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from _find_dicts(value, f"{where}.{index}")


@dataclass(frozen=True)
class _DatasetCheck:
    """The check of one data set with a list, or with shards.

    Args:
        dataset: Its config.
        where: Path of that config.
        num_classes: Classes of the head, where the config tells.
        advice: How the data is made.
    """

    dataset: dict
    where: str
    num_classes: int | None
    advice: str | None

    @property
    def ann_file(self) -> str:
        return locate(self.dataset.get("data_root"), self.dataset["ann_file"])

    def run(self) -> CheckedList:
        """Check list, folders and listed files; returns the list, empty if it is not for us."""
        nothing = CheckedList(self.ann_file, [])
        if storage.is_remote(self.ann_file) and not self._reads_urls():
            return nothing
        if not storage.exists(self.ann_file):
            raise self._missing(
                f"annotation list {self.ann_file} ({self.where}.ann_file) does not exist"
            )
        prefixes = self._find_folders()
        found = self._find_layout()
        if found is None:
            return nothing
        prefix_key, layout = found
        clips = self._read(layout, prefixes.get(prefix_key, ""))
        return CheckedList(self.ann_file, clips)

    def reads_shards(self) -> bool:
        """Tell whether the config is that of a data set of shards."""
        if not isinstance(self.dataset.get("index"), str):
            return False
        cls = self._find_class()
        return isinstance(cls, type) and issubclass(cls, ShardedVideoDataset)

    def run_on_shards(self) -> None:
        """Check the index, its labels, and whether all shards are there."""
        index = self.dataset["index"]
        if not storage.exists(index):
            raise self._missing(
                f"index of shards {storage.hide_secrets(index)} ({self.where}.index) does not exist"
            )
        check_index(
            index,
            num_classes=self._classes().count,
            is_multi_class=bool(self.dataset.get("multi_class")),
        )

    def _find_folders(self) -> dict[str, str]:
        """Return where paths begin, after a look whether the local folders are there."""
        prefixes = {
            key: locate(self.dataset.get("data_root"), prefix)
            for key, prefix in (self.dataset.get("data_prefix") or {}).items()
            if prefix
        }
        for key, folder in prefixes.items():
            # Stores of objects know no folders.
            if not storage.is_remote(folder) and not storage.is_folder(folder):
                raise self._missing(
                    f"data folder {folder} ({self.where}.data_prefix.{key}) does not exist"
                )
        return prefixes

    def _missing(self, finding: str) -> MissingFileError:
        return MissingFileError(f"{finding}; {self.advice}" if self.advice else finding)

    def _find_class(self) -> Any:
        cls = self.dataset.get("type")
        return DATASETS.get(cls) if isinstance(cls, str) else cls

    def _load_data_list(self) -> Any:
        """Return the function by which the data set reads its list."""
        return getattr(self._find_class(), "load_data_list", None)

    def _reads_urls(self) -> bool:
        """Tell whether URLs are what ``storage`` takes for one; MMEngine has its own."""
        return self._load_data_list() is VideoListDataset.load_data_list

    def _find_layout(self) -> tuple[str, LineLayout] | None:
        """Return the key of the folder that paths begin at, and how the lines are laid out.

        None stands for a data set that reads its list in its own way.
        """
        load_data_list = self._load_data_list()
        delimiter = self.dataset.get("delimiter", " ")
        many = bool(self.dataset.get("multi_class"))
        if load_data_list is VideoListDataset.load_data_list:
            return "video", LineLayout(0, delimiter, has_many_labels=many, is_label_last=True)
        if load_data_list is VideoDataset.load_data_list:
            return "video", LineLayout(0, delimiter, has_many_labels=many)
        if load_data_list is RawframeDataset.load_data_list:
            between = 2 if self.dataset.get("with_offset") else 1
            return "img", LineLayout(between, None, has_many_labels=many)
        return None

    def _read(self, layout: LineLayout, prefix: str) -> list[ListedClip]:
        """Return the clips of a list that has no fault, and whose files exist."""
        lines = read_lines(self.ann_file)
        clips, problems = parse_list(lines, layout, prefix=prefix, classes=self._classes())
        missing, num_looked_up = self._look_up(clips)
        if problems:
            problems = sorted(problems + missing)
            raise AnnotationError(describe_problems(self.ann_file, problems))
        if missing:
            separator = "\n  " if len(missing) > 1 else "; "
            raise self._missing(
                f"{describe_problems(self.ann_file, missing)}{separator}{len(missing)} of "
                f"{num_looked_up} listed files looked up are missing"
            )
        return clips

    def _classes(self) -> Classes:
        """Return the tighter one of the bounds that the head and the data set set."""
        bounds = [
            Classes(self.num_classes, "model.cls_head.num_classes"),
            Classes(self.dataset.get("num_classes"), f"{self.where}.num_classes"),
        ]
        known = [bound for bound in bounds if bound.count is not None]
        return min(known, default=bounds[0])

    def _look_up(self, clips: list[ListedClip]) -> tuple[list[Problem], int]:
        """Look whether the listed files exist, of long lists a part; returns how many it was."""
        if not self._reads_from_disk():
            return [], 0
        remote = [clip for clip in clips if storage.is_remote(clip.path)]
        local = [clip for clip in clips if not storage.is_remote(clip.path)] if remote else clips
        looked_up = _spread(local, MAX_LOOKUPS)
        if self._reads_urls():
            looked_up += _spread(remote, MAX_REMOTE_LOOKUPS)
        missing = [
            Problem(clip.line, f"{storage.hide_secrets(clip.path)} does not exist")
            for clip in looked_up
            if not storage.exists(clip.path)
        ]
        return missing, len(looked_up)

    def _reads_from_disk(self) -> bool:
        steps = _find_dicts(self.dataset.get("pipeline") or [], "pipeline")
        return all(step.get("io_backend") in LOCAL_BACKENDS for _, step in steps)


def _spread(clips: list[ListedClip], limit: int) -> list[ListedClip]:
    """Return at most ``limit`` clips, evenly over the list."""
    return clips[:: max(1, -(-len(clips) // limit))]
