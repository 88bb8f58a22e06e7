"""All subjects in one run, turn and turn about, so that a busy machine disturbs all alike."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from amflow_mm.apis.model_benchmark.case import Case
from amflow_mm.apis.model_benchmark.components import (
    OURS,
    WRITTEN_OUT,
    ComponentSubject,
    build_components,
)
from amflow_mm.apis.model_benchmark.matrix_peak import build_matrix_products
from amflow_mm.apis.model_benchmark.measurement import measure_growth, measure_time
from amflow_mm.apis.model_benchmark.model_subject import build_model_subject
from amflow_mm.apis.model_benchmark.recipes import model_names
from amflow_mm.apis.model_benchmark.subject import Subject
from amflow_mm.apis.reporting import describe_run
from amflow_mm.progress import track

Record = dict[str, Any]


@dataclass(frozen=True)
class BenchmarkOptions:
    """What to measure and how.

    Attributes:
        variant: Size of the image transformer, see ``ImageViT``.
        models: Names of the models, see ``model_names``.
        has_components: Whether AM flow and the aligning encoders are measured on their own.
        matrix_sides: Of the products that tell the peak; ``None`` is the device's usual ones.
        repetitions: Times that every subject is measured in every mode.
        seconds: Shortest time of one measurement.
        device: Where everything runs.
        is_compiled: Compile the blocks of models that offer it; the peers do not.
    """

    variant: str | dict[str, int] = "b16"
    models: tuple[str, ...] = model_names()
    has_components: bool = True
    matrix_sides: tuple[int, ...] | None = None
    repetitions: int = 5
    seconds: float = 0.0
    device: str = "cpu"
    is_compiled: bool = False

    def __post_init__(self) -> None:
        if self.repetitions < 1:
            raise ValueError(f"repetitions={self.repetitions} must be >= 1")
        if self.seconds < 0:
            raise ValueError(f"seconds={self.seconds} must be >= 0")
        unknown = [name for name in self.models if name not in model_names()]
        if unknown:
            raise ValueError(f"models={unknown} must be of {', '.join(model_names())}")
        if torch.device(self.device).type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"device={self.device!r} asks for a GPU, but torch sees none")


def benchmark_models(
    cases: Sequence[Case], options: BenchmarkOptions, *, is_preliminary: bool = False
) -> Record:
    """Measure all subjects in all cases and return the record.

    Args:
        cases: The first one is what ratios and targets are about; in the others components that
            the first has shown are left out.
        options: What to measure and how.
        is_preliminary: The machine was not left alone; the record says so.
    """
    init_default_scope("amflow_mm")
    run = {"kind": "benchmark", "is_preliminary": is_preliminary} | describe_run()
    run |= {"options": asdict(options), "cases": [asdict(case) for case in cases]}
    run |= {"agreement": None, "subjects": [], "measurements": [], "memory": []}
    with _silent_builders():
        for number, case in enumerate(cases):
            chosen = options if number == 0 else replace(options, has_components=False)
            _add_case(run, number, case, chosen)
    return run


@contextmanager
def _silent_builders() -> Iterator[None]:
    """Keep what a training logs about its parts out of the tables."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _add_case(run: Record, number: int, case: Case, options: BenchmarkOptions) -> None:
    device = torch.device(options.device)
    with tempfile.TemporaryDirectory(prefix="amflow-benchmark-") as folder:
        subjects = list(_build(case, options, device, Path(folder)))
        by_name = {s.name: s for s in subjects if isinstance(s, ComponentSubject)}
        if by_name:
            difference = by_name[OURS].result() - by_name[WRITTEN_OUT].result()
            run["agreement"] = difference.abs().max().item()
        for subject in track(subjects, description=f"{case}: memory"):
            run["subjects"].append({"case": number, **subject.facts()})
            run["memory"] += [{"case": number, **entry} for entry in _memory(subject, device)]
        timed = _times(subjects, options, device, description=f"{case}: time")
        run["measurements"] += [{"case": number, **entry} for entry in timed]


def _build(
    case: Case, options: BenchmarkOptions, device: torch.device, folder: Path
) -> Iterator[Subject]:
    yield from build_matrix_products(case, device, options.matrix_sides)
    if options.has_components:
        yield from build_components(options.variant, case, device)
    for name in options.models:
        yield build_model_subject(
            name,
            options.variant,
            case,
            device=device,
            folder=folder,
            is_compiled=options.is_compiled,
        )


def _memory(subject: Subject, device: torch.device) -> Iterator[Record]:
    """Warm a subject up in each mode, which leaves its state at rest, and watch the next run."""
    for mode in subject.macs:
        subject.prepare(mode)
        subject.run(mode)
        grown = measure_growth(lambda mode=mode: subject.run(mode), device)
        held = subject.held_bytes()
        yield {"subject": subject.name, "mode": mode, "held_bytes": held, "grown_bytes": grown}


def _times(
    subjects: Sequence[Subject], options: BenchmarkOptions, device: torch.device, description: str
) -> Iterator[Record]:
    """Measure in turns; the order moves on by one each time, so that none follows the same."""
    turns = [
        (repetition, subjects[(place + repetition) % len(subjects)], mode)
        for repetition in range(options.repetitions)
        for place in range(len(subjects))
        for mode in subjects[(place + repetition) % len(subjects)].macs
    ]
    for repetition, subject, mode in track(turns, description=description):
        runs, seconds = measure_time(subject, mode, device, seconds=options.seconds)
        entry = {"subject": subject.name, "mode": mode, "repetition": repetition}
        yield entry | {"runs": runs, "seconds": seconds}
