"""Look at a config's files before anything is built, and say which one is missing.

Without this a missing list ends in a traceback from a data worker, a label outside the classes in
an assertion on the GPU, and a video that is not there in the middle of the first epoch.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from mmaction.datasets import RawframeDataset, VideoDataset
from mmengine.config import Config

from amflow_mm.engine.checkpoint import is_remote, require_file
from amflow_mm.engine.errors import AnnotationError, MissingFileError
from amflow_mm.registry import DATASETS

MAX_LOOKUPS = 20_000
"""Listed files that are looked up, evenly over the list: seconds also on a network disk."""

FETCHED_SOURCES = ("hf:", "mmpretrain::")
"""Beginnings of ``pretrained`` that are no paths though they may have a suffix."""

LOCAL_BACKENDS = (None, "disk", "local")


def check_data(cfg: Config, loaders: Sequence[str]) -> None:
    """Check the lists and files of some loaders.

    Args:
        cfg: Config; ``data_help`` tells how the data is made, ``model.cls_head.num_classes``
            bounds the labels.
        loaders: Names such as ``train_dataloader``; one that the config lacks is skipped.

    Raises:
        MissingFileError: A list, a folder or a listed file does not exist.
        AnnotationError: A line of a list cannot be used.
    """
    num_classes = (cfg.get("model", {}).get("cls_head") or {}).get("num_classes")
    advice = f"to get it: {cfg.data_help}" if cfg.get("data_help") else None
    for loader in loaders:
        # Data sets stand inside others that repeat or join them.
        for where, part in _find_dicts(cfg.get(loader) or {}, loader):
            if part.get("ann_file"):
                _DatasetCheck(part, where, num_classes, advice).run()


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
                    path if is_remote(path) else Path(path).expanduser(),
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


class _LineLayout(NamedTuple):
    """How MMAction2 lays out a line: path, fields that do not matter here, labels.

    Args:
        prefix_key: Key of ``data_prefix`` that paths are relative to.
        num_between: Fields between path and labels.
        delimiter: What separates fields; None for any blanks.
    """

    prefix_key: str
    num_between: int
    delimiter: str | None


@dataclass(frozen=True)
class _DatasetCheck:
    """The check of one data set with a list.

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
        return self._join_root(self.dataset["ann_file"])

    def run(self) -> None:
        if is_remote(self.ann_file):
            return
        require_file(
            self.ann_file,
            "annotation list",
            named_by=f"{self.where}.ann_file",
            advice=self.advice,
        )
        prefixes = {
            key: self._join_root(prefix)
            for key, prefix in (self.dataset.get("data_prefix") or {}).items()
            if prefix
        }
        for key, folder in prefixes.items():
            if not is_remote(folder) and not Path(folder).is_dir():
                raise self._missing(
                    f"data folder {folder} ({self.where}.data_prefix.{key}) does not exist"
                )
        layout = self._find_layout()
        if layout is not None:
            entries = self._read_list(layout)
            if self._reads_from_disk():
                self._look_up(entries, prefixes.get(layout.prefix_key, ""))

    def _join_root(self, path: str) -> str:
        """Join as MMEngine's BaseDataset does: an absolute path stands for itself."""
        root = self.dataset.get("data_root")
        return os.path.join(root, path) if root and not is_remote(path) else path

    def _missing(self, finding: str) -> MissingFileError:
        return MissingFileError(f"{finding}; {self.advice}" if self.advice else finding)

    def _find_layout(self) -> _LineLayout | None:
        """Tell how the lines are laid out; None if the data set reads its list in its own way."""
        cls = self.dataset.get("type")
        if isinstance(cls, str):
            cls = DATASETS.get(cls)
        load_data_list = getattr(cls, "load_data_list", None)
        if load_data_list is VideoDataset.load_data_list:
            return _LineLayout("video", 0, self.dataset.get("delimiter", " "))
        if load_data_list is RawframeDataset.load_data_list:
            return _LineLayout("img", 2 if self.dataset.get("with_offset") else 1, None)
        return None

    def _reads_from_disk(self) -> bool:
        steps = _find_dicts(self.dataset.get("pipeline") or [], "pipeline")
        return all(step.get("io_backend") in LOCAL_BACKENDS for _, step in steps)

    def _read_list(self, layout: _LineLayout) -> list[tuple[int, str]]:
        """Return (line number, path) of every line, after a look at its labels."""
        entries = []
        text = Path(self.ann_file).read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), start=1):
            path, *rest = line.strip().split(layout.delimiter) or [""]
            labels = rest[layout.num_between :]
            is_count_right = len(labels) == 1 or (labels and self.dataset.get("multi_class"))
            if not path or not is_count_right:
                expected = "folder frames label" if layout.num_between else "path label"
                raise AnnotationError(
                    f"{self.ann_file}, line {number}: {line!r} is not {expected!r}; paths with "
                    "blanks need another delimiter"
                )
            for label in labels:
                self._check_label(label, number)
            entries.append((number, path))
        if not entries:
            raise AnnotationError(f"{self.ann_file} is empty; it needs a line for each clip")
        return entries

    def _check_label(self, label: str, number: int) -> None:
        place = f"{self.ann_file}, line {number}"
        if not label.removeprefix("-").isdecimal():
            raise AnnotationError(f"{place}: label {label!r} is not a whole number")
        if self.num_classes is not None and not 0 <= int(label) < self.num_classes:
            raise AnnotationError(
                f"{place}: label {label} is not within 0 ... {self.num_classes - 1}; labels start "
                f"at 0, and model.cls_head.num_classes is {self.num_classes}"
            )

    def _look_up(self, entries: list[tuple[int, str]], prefix: str) -> None:
        """Look whether the listed files exist, of long lists a part."""
        step = -(-len(entries) // MAX_LOOKUPS)
        looked_up = entries[::step]
        missing = []
        for number, path in looked_up:
            if not os.path.isabs(path) and os.path.normpath(path).split(os.sep)[0] == os.pardir:
                raise AnnotationError(
                    f"{self.ann_file}, line {number}: {path} leaves the data folder; write paths "
                    "relative to data_prefix, or absolute ones"
                )
            full = os.path.join(prefix, path)
            if not is_remote(full) and not os.path.exists(full):
                missing.append((number, full))
        if missing:
            number, full = missing[0]
            raise self._missing(
                f"{full} does not exist ({self.ann_file}, line {number}; {len(missing)} of "
                f"{len(looked_up)} listed files looked up are missing)"
            )
