"""Accuracy by class: collecting predictions, the figures, the table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from mmengine.evaluator import BaseMetric

from amflow_mm.datasets.skip_ledger import SKIPPED
from amflow_mm.errors import UserError
from amflow_mm.registry import METRICS

TOP_K = 5


@dataclass(frozen=True)
class Predictions:
    """Scores and true labels of a test set, in the order of its list.

    Args:
        scores: One row per clip, one column per class.
        labels: True classes.
        is_left_out: Whether another video stood in for one that cannot be read.
    """

    scores: Float[np.ndarray, "M K"]
    labels: Int[np.ndarray, " M"]
    is_left_out: Bool[np.ndarray, " M"]


@METRICS.register_module()
class PredictionCollector(BaseMetric):
    """Keep the predictions of a test run; collecting over processes is MMEngine's.

    After the run ``predictions`` holds them on the main process and is None on the others.
    """

    default_prefix = "predictions"  # MMEngine warns without one

    def __init__(self) -> None:
        super().__init__()
        self.predictions: Predictions | None = None

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Take score and label of each sample, and whether it is to be left out."""
        del data_batch
        for sample in data_samples:
            scores = sample["pred_score"].float().cpu().numpy()
            if scores.ndim != 1:
                raise ValueError(
                    f"pred_score has shape {scores.shape}, a row for each view; set "
                    "model.cls_head.average_clips to 'prob' or 'score'"
                )
            self.results.append((scores, int(sample["gt_label"].item()), SKIPPED in sample))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Store the predictions; the figures are made of them by :func:`build_class_report`."""
        scores, labels, is_left_out = zip(*results, strict=True)
        self.predictions = Predictions(np.stack(scores), np.array(labels), np.array(is_left_out))
        return {}


@dataclass(frozen=True)
class ClassReport:
    """Accuracies, all as fractions.

    Args:
        top1: Share of clips whose best class is right.
        top5: Share of clips whose five best classes hold the right one.
        mean_class_accuracy: Mean over the classes that have clips.
        class_names: K names.
        clips: Clips of each class.
        class_accuracy: Share of right clips of each class; NaN where there is no clip.
        confusion: Counts, true classes down, predicted classes across.
        num_left_out: Clips that are in none of these figures, because they cannot be read.
    """

    top1: float
    top5: float
    mean_class_accuracy: float
    class_names: tuple[str, ...]
    clips: Int[np.ndarray, " K"]
    class_accuracy: Float[np.ndarray, " K"]
    confusion: Int[np.ndarray, "K K"]
    num_left_out: int

    def __str__(self) -> str:
        """Format the table of classes and the three figures."""
        width = max(len("mean class accuracy"), *map(len, self.class_names))
        lines = [f"{'class':<{width}}{'clips':>8}{'accuracy':>10}"]
        for name, clips, accuracy in zip(
            self.class_names, self.clips, self.class_accuracy, strict=True
        ):
            shown = f"{accuracy:.4f}" if clips else "-"
            lines.append(f"{name:<{width}}{clips:>8}{shown:>10}")
        total = self.clips.sum()
        for name, value in self.figures().items():
            lines.append(f"{name.replace('_', ' '):<{width}}{total:>8}{value:>10.4f}")
        if self.num_left_out:
            listed = total + self.num_left_out
            lines.append(f"{self.num_left_out} of {listed} videos left out: they cannot be read")
        return "\n".join(lines)

    def figures(self) -> dict[str, float]:
        """Return the three figures by name."""
        return {
            "top1": self.top1,
            "top5": self.top5,
            "mean_class_accuracy": self.mean_class_accuracy,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the table for JSON, which has no NaN."""
        return [
            {
                "class": name,
                "clips": int(clips),
                "accuracy": float(accuracy) if clips else None,
            }
            for name, clips, accuracy in zip(
                self.class_names, self.clips, self.class_accuracy, strict=True
            )
        ]


def build_class_report(predictions: Predictions, class_names: Sequence[str]) -> ClassReport:
    """Compute the report of a test run.

    Args:
        predictions: Scores and labels.
        class_names: K names, in the order of the labels.

    Raises:
        UserError: Not one video can be read.
    """
    is_kept = ~predictions.is_left_out
    if not is_kept.any():
        raise UserError(f"none of the {is_kept.size} videos can be read: there is no accuracy")
    scores, labels = predictions.scores[is_kept], predictions.labels[is_kept]
    num_classes = scores.shape[1]
    if len(class_names) != num_classes:
        raise ValueError(
            f"{len(class_names)} class names for {num_classes} scores; the list of names must "
            "have one line for each class"
        )
    # A stable sort of the negated scores: among equal scores the lower label wins, as in argmax.
    ranking = np.argsort(-scores, axis=1, kind="stable")
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(confusion, (labels, ranking[:, 0]), 1)
    clips = confusion.sum(axis=1)
    class_accuracy = np.divide(
        np.diag(confusion), clips, out=np.full(num_classes, np.nan), where=clips > 0
    )
    return ClassReport(
        top1=float(np.mean(ranking[:, 0] == labels)),
        top5=float(np.mean((ranking[:, :TOP_K] == labels[:, None]).any(axis=1))),
        mean_class_accuracy=float(np.nanmean(class_accuracy)),
        class_names=tuple(class_names),
        clips=clips,
        class_accuracy=class_accuracy,
        confusion=confusion,
        num_left_out=int(predictions.is_left_out.sum()),
    )
