"""Samples of a config's data set as the model gets them, to be looked at."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Int, UInt8
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset, ConcatDataset, RepeatDataset, pseudo_collate
from mmengine.registry import init_default_scope
from torch import Tensor
from torch.utils.data import Dataset

from amflow_mm.datasets import FrozenFeatureDataset, storage
from amflow_mm.datasets.planned_clip import PlannedClip, render_clips
from amflow_mm.engine.config_check import check_config
from amflow_mm.engine.data_check import check_data
from amflow_mm.engine.errors import UserError
from amflow_mm.engine.seeding import isolated_randomness, mix_seed
from amflow_mm.registry import DATASETS, MODELS
from amflow_mm.visualization.dataset_page import BrowsedSample, DrawnClip

Loader = Literal["train", "val", "test"]

KEPT_FACTS = ("frame_inds", "original_shape")
"""What a pipeline knows of a sample on the way and packing leaves behind."""


class DatasetBrowser:
    """Draws samples with the pipeline of a config, as training would, and keeps what it says.

    Args:
        cfg: Config; its lists and files are checked before the data set is built. Under a
            ``FrozenFeatureDataset`` the videos beneath it are shown.
        loader: Whose data set.
        seed: Of the choice and of the draws; a draw depends on it, the sample and its number alone.
        through_preprocessor: Send clips through the model's preprocessor and take its mean and
            deviation back, in place of showing what the preprocessor is given.

    Raises:
        ConfigError: The config has keys that nothing understands.
        UserError: There is no such loader, or its lists cannot be used.
    """

    def __init__(
        self,
        cfg: Config,
        loader: Loader = "train",
        *,
        seed: int = 0,
        through_preprocessor: bool = False,
    ) -> None:
        check_config(cfg)
        name = f"{loader}_dataloader"
        source = Path(cfg.filename).name if cfg.filename else "the config"
        if cfg.get(name) is None:
            raise UserError(f"{source} has no {name}")
        check_data(cfg, [name])
        init_default_scope(cfg.get("default_scope", "amflow_mm"))
        self.dataset = DATASETS.build(cfg[name].dataset)
        if isinstance(self.dataset, FrozenFeatureDataset):
            self.dataset = self.dataset.videos
        self.seed = seed
        self.title = f"{source}, {name}"
        self._class_names = _read_class_names(cfg, self.dataset)
        self._preprocessor = None
        if through_preprocessor:
            self._preprocessor = MODELS.build(cfg.model.data_preprocessor)

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def facts(self) -> dict[str, str]:
        """Tell what is shown."""
        inner, _ = _innermost(self.dataset, 0)
        facts = {
            "samples": f"{len(self)}, {type(inner).__name__}",
            "seed": str(self.seed),
            "pipeline": "\n".join(map(repr, inner.pipeline.transforms)),
        }
        if self._preprocessor is not None:
            facts["shown"] = (
                f"what {type(self._preprocessor).__name__} returns, mean and std undone"
            )
        return facts

    def choose(self, num: int) -> list[int]:
        """Choose samples so that each class has its turn; those of a class stand together."""
        if num < 1:
            raise UserError(f"num={num} must be >= 1")
        labels = [_labels(self.dataset.get_data_info(i))[:1] for i in range(len(self))]
        rng = np.random.default_rng(self.seed)
        members: dict[tuple[int, ...], list[int]] = {}
        for index in rng.permutation(len(labels)).tolist():
            members.setdefault(labels[index], []).append(index)
        classes = sorted(members)
        rng.shuffle(classes)
        rounds = zip_longest(*(members[label] for label in classes))
        turns = [index for index in chain.from_iterable(rounds) if index is not None]
        return sorted(turns[:num], key=lambda index: (labels[index], index))

    def check_indices(self, indices: Sequence[int]) -> None:
        """Raise UserError if the data set lacks one."""
        for index in indices:
            if not 0 <= index < len(self):
                raise UserError(
                    f"indices: there is no sample {index}; {self.title} has 0 to {len(self) - 1}"
                )

    def draw(self, index: int, num_draws: int = 1) -> BrowsedSample:
        """Run the pipeline for a sample; what it raises becomes the sample's error."""
        dataset, inner_index = _innermost(self.dataset, index)
        info = dataset.get_data_info(inner_index)
        path = storage.hide_secrets(str(info.get("filename", info.get("frame_dir", "?"))))
        label = self._describe(_labels(info))
        draws, facts = [], {}
        try:
            for number in range(num_draws):
                with isolated_randomness(mix_seed(self.seed, index, number)):
                    sample, facts = _run_pipeline(dataset, inner_index)
                draws.append(self._show(sample, facts, label))
        # Whatever is wrong with one sample is to be seen beside the others that are right.
        except Exception as error:
            return BrowsedSample(index, path, label, error=_describe_error(error))
        size = facts.get("original_shape")
        return BrowsedSample(
            index, path, label, None if size is None else tuple(map(int, size)), tuple(draws)
        )

    def _show(self, sample: dict[str, Any], facts: dict[str, Any], label: str) -> DrawnClip:
        inputs = sample["inputs"]
        drawn_label = self._describe(_gt_labels(sample))
        notes = [f"label now {drawn_label}"] if drawn_label and drawn_label != label else []
        if self._preprocessor is not None:
            pixels, note = _pass_preprocessor(self._preprocessor, sample)
            notes.append(note)
        else:
            (pixels,) = render_clips([inputs])
            if pixels.dtype != torch.uint8 and not isinstance(inputs, PlannedClip):
                low, high = float(pixels.min()), float(pixels.max())
                pixels = (pixels - low) / max(high - low, 1e-6) * 255
                notes.append(f"black is {low:.3g}, white {high:.3g}")
        views = _to_images(pixels)
        return DrawnClip(views, _frame_numbers(facts, views.shape[:2]), ", ".join(notes))

    def _describe(self, labels: Sequence[int]) -> str:
        names = self._class_names
        return ", ".join(
            f"{names[label]} ({label})" if 0 <= label < len(names) else f"class {label}"
            for label in labels
        )


def _read_class_names(cfg: Config, dataset: Dataset) -> Sequence[str]:
    path = cfg.get("classes_file")
    if path and Path(path).is_file():
        return Path(path).read_text(encoding="utf-8").strip().splitlines()
    return dataset.metainfo.get("classes") or ()


def _innermost(dataset: Dataset, index: int) -> tuple[Dataset, int]:
    """Find the data set that holds a sample, inside those that repeat or join others."""
    while True:
        if isinstance(dataset, ConcatDataset):
            number, index = dataset._get_ori_dataset_idx(index)
            dataset = dataset.datasets[number]
        elif isinstance(dataset, RepeatDataset | ClassBalancedDataset):
            index = dataset._get_ori_dataset_idx(index)
            dataset = dataset.dataset
        else:
            return dataset, index


class _Recorder:
    """A pipeline that keeps the facts that its packing drops."""

    def __init__(self, steps: Sequence[Any]) -> None:
        self.steps = steps
        self.facts: dict[str, Any] = {}

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        for step in self.steps:
            results = step(results)
            if results is None:
                raise ValueError(f"{type(step).__name__} returned None")
            self.facts |= {key: results[key] for key in KEPT_FACTS if key in results}
        return results


@contextmanager
def _recording(dataset: Dataset) -> Iterator[_Recorder]:
    pipeline = dataset.pipeline
    dataset.pipeline = recorder = _Recorder(pipeline.transforms)
    try:
        yield recorder
    finally:
        dataset.pipeline = pipeline


def _run_pipeline(dataset: Dataset, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a sample, never a stand-in for one that cannot be read, and the facts of its way."""
    with _recording(dataset) as recorder:
        return dataset.prepare_data(index), recorder.facts


def _labels(info: dict[str, Any]) -> tuple[int, ...]:
    """Read the labels of an annotation: one, a list, a vector of 0 and 1, or none."""
    label = info.get("label", ())
    if isinstance(label, Tensor):
        return tuple(label.nonzero().flatten().tolist())
    return tuple(label) if isinstance(label, list | tuple) else (int(label),)


def _gt_labels(sample: dict[str, Any]) -> tuple[int, ...]:
    label = sample["data_samples"].get("gt_label", torch.empty(0))
    return tuple(label.tolist()) if len(label) < 2 else _labels({"label": label})


def _pass_preprocessor(preprocessor: Any, sample: dict[str, Any]) -> tuple[Tensor, str]:
    """Normalise a clip and undo it; the note tells what the channels are like in between."""
    clips = preprocessor(pseudo_collate([sample]), training=False)["inputs"][0].float()
    channels = clips.transpose(0, 1).flatten(1)  # V 3 T height width
    mean, std = channels.mean(dim=1).tolist(), channels.std(dim=1).tolist()
    note = "normalised: mean {} std {}".format(
        *("/".join(f"{value:.2f}" for value in values) for values in (mean, std))
    )
    if getattr(preprocessor, "mean", None) is not None:
        clips = clips * preprocessor.std + preprocessor.mean
    return clips, note


def _to_images(pixels: Tensor) -> UInt8[np.ndarray, "V T height width 3"]:
    """Put the axes of a packed clip in the order of images."""
    # Frames by themselves, N 3 height width, count as the clip of one view.
    clips = pixels.transpose(0, 1)[None] if pixels.ndim == 4 else pixels
    if clips.ndim != 5 or clips.shape[1] != 3:
        raise ValueError(
            f"inputs of shape {tuple(pixels.shape)} are no clips of three colours, (V, 3, T, "
            "height, width)"
        )
    if clips.dtype != torch.uint8:
        clips = clips.round().clamp(0, 255).to(torch.uint8)
    return clips.permute(0, 2, 3, 4, 1).contiguous().numpy()


def _frame_numbers(facts: dict[str, Any], shape: tuple[int, int]) -> Int[np.ndarray, "V T"] | None:
    """Tell which frame each image is; crops of a clip show the same frames."""
    num_views, num_frames = shape
    numbers = np.asarray(facts.get("frame_inds", ())).reshape(-1)
    if numbers.size == 0 or numbers.size % num_frames:
        return None
    clips = numbers.reshape(-1, num_frames).astype(np.int64)
    if num_views % len(clips):
        return None
    return np.tile(clips, (num_views // len(clips), 1))


def _describe_error(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
