"""A whole run: subjects, measurements, and what one must know to read them."""

import importlib.metadata
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from amflow_mm.apis.pipeline_benchmark.agreement import compare_frames
from amflow_mm.apis.pipeline_benchmark.benchmark import BenchmarkOptions, run_benchmark
from amflow_mm.apis.pipeline_benchmark.subjects import BASELINE, Choice, make_subjects
from amflow_mm.apis.pipeline_benchmark.video_set import VideoSet
from amflow_mm.apis.reporting import describe_run

DECODERS = ("av", "opencv-python", "torchcodec")


def benchmark_pipelines(
    sets: Sequence[VideoSet],
    folder: str | os.PathLike[str],
    choice: Choice,
    options: BenchmarkOptions,
) -> dict[str, Any]:
    """Prepare, compare and measure pipelines, and return the record.

    Args:
        sets: Videos; subjects are compared within each.
        folder: For lists, re-encoded videos and caches, which a later run takes over.
        choice: Which subjects take part.
        options: How to measure.
    """
    subjects = [
        subject for videos in sets for subject in make_subjects(videos, Path(folder), choice)
    ]
    facts = describe_run()
    return facts | {
        "versions": facts["versions"] | _decoder_versions(),
        "baseline": BASELINE,
        "choice": asdict(choice),
        "options": asdict(options),
        "videos": {videos.name: videos.describe() for videos in sets},
        "agreement": compare_frames(subjects),
        "measurements": run_benchmark(subjects, options),
    }


def _decoder_versions() -> dict[str, str]:
    versions = {}
    for name in DECODERS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # torchcodec is optional, and OpenCV comes under several names
    return versions
