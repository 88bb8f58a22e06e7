"""Testing a checkpoint: the run, the report by class, the files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner
from torch.utils.data import Dataset

from amflow_mm.engine.checkpoint import require_file
from amflow_mm.engine.class_report import (
    ClassReport,
    PredictionCollector,
    Predictions,
    build_class_report,
)
from amflow_mm.engine.errors import UserError
from amflow_mm.engine.launch import build_runner
from amflow_mm.engine.reproducibility import collect_run_record, write_json
from amflow_mm.hashing import hash_file

RESULT_FILE = "result.json"
PICKLES = (".pkl", ".pickle")


@dataclass(frozen=True)
class EvaluationResult:
    """What a test found.

    Args:
        report: Accuracies by class and over all.
        metrics: Figures of the config's own ``test_evaluator``.
        path: The file that holds both and how they came about.
    """

    report: ClassReport
    metrics: dict[str, float]
    path: Path


def check_evaluation(cfg: Config, checkpoint: str, dump: str | None) -> None:
    """Look for what would stop a test at its end.

    Raises:
        UserError: A file is missing, or ``dump`` has an unknown suffix.
    """
    require_file(checkpoint, "checkpoint")
    if cfg.get("classes_file"):
        require_file(cfg.classes_file, "list of class names", named_by="classes_file")
    if dump is not None and Path(dump).suffix not in (*PICKLES, ".json"):
        raise UserError(f"--dump {dump} must end in .pkl, .pickle or .json")


def evaluate_checkpoint(
    cfg: Config, checkpoint: str, *, dump: str | None = None
) -> EvaluationResult | None:
    """Test a checkpoint and write ``result.json`` into the work folder.

    Args:
        cfg: Config with all flags applied.
        checkpoint: File that must fit the model exactly.
        dump: Where to write the predictions: a pickle of data samples as MMAction2 writes it, or
            JSON with path, label, prediction and scores of each clip that can be read.

    Returns:
        The result on the main process, None on the others.
    """
    check_evaluation(cfg, checkpoint, dump)
    runner = build_runner(_with_collectors(cfg, checkpoint, dump))
    metrics = runner.test()
    predictions = _find_predictions(runner)
    if predictions is None:
        return None
    dataset = runner.test_dataloader.dataset
    report = build_class_report(
        predictions, _find_class_names(cfg, dataset, predictions.scores.shape[1])
    )
    if dump is not None and Path(dump).suffix == ".json":
        write_json(dump, _list_predictions(predictions, dataset, report.class_names))
    path = Path(runner.work_dir) / RESULT_FILE
    record = collect_run_record(cfg) | {
        "seed": runner.seed,
        "world_size": runner.world_size,
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": hash_file(checkpoint),
    }
    content = {
        "metrics": report.figures(),
        "evaluator": {name: float(value) for name, value in metrics.items()},
        "classes": report.rows(),
        "confusion": report.confusion.tolist(),
        "num_videos": len(predictions.labels),
        "left_out": _list_left_out(predictions, dataset),
    }
    write_json(path, content | record)
    return EvaluationResult(report, metrics, path)


def _with_collectors(cfg: Config, checkpoint: str, dump: str | None) -> Config:
    """Return a copy of the config that loads the checkpoint and keeps its predictions."""
    evaluators = cfg.test_evaluator
    evaluators = list(evaluators) if isinstance(evaluators, (list, tuple)) else [evaluators]
    # Types as paths: a config with string types cannot be written with classes inside.
    evaluators.append({"type": "amflow_mm.engine.class_report.PredictionCollector"})
    if dump is not None and Path(dump).suffix in PICKLES:
        evaluators.append({"type": "mmengine.evaluator.DumpResults", "out_file_path": dump})
    cfg = cfg.copy()
    cfg.test_evaluator = evaluators
    cfg.load_from, cfg.resume = checkpoint, False
    return cfg


def _find_predictions(runner: Runner) -> Predictions | None:
    collectors = (m for m in runner.test_evaluator.metrics if isinstance(m, PredictionCollector))
    return next(collectors).predictions


def _find_class_names(cfg: Config, dataset: Dataset, num_classes: int) -> Sequence[str]:
    """Take the names from ``classes_file``, else from the data set, else number the classes."""
    if cfg.get("classes_file"):
        return Path(cfg.classes_file).read_text(encoding="utf-8").strip().splitlines()
    return dataset.metainfo.get("classes") or [str(label) for label in range(num_classes)]


def _list_predictions(
    predictions: Predictions, dataset: Dataset, class_names: Sequence[str]
) -> dict[str, Any]:
    clips = []
    for index in np.flatnonzero(~predictions.is_left_out):
        scores = predictions.scores[index]
        clips.append(
            {
                "path": _find_path(dataset, index),
                "label": int(predictions.labels[index]),
                "prediction": int(scores.argmax()),
                "scores": [round(float(score), 6) for score in scores],
            }
        )
    return {
        "classes": list(class_names),
        "clips": clips,
        "left_out": _list_left_out(predictions, dataset),
    }


def _list_left_out(predictions: Predictions, dataset: Dataset) -> list[str | None]:
    """Return the paths of the videos that cannot be read."""
    return [_find_path(dataset, index) for index in np.flatnonzero(predictions.is_left_out)]


def _find_path(dataset: Dataset, index: int) -> str | None:
    info = dataset.get_data_info(int(index))
    return info.get("filename") or info.get("frame_dir")
