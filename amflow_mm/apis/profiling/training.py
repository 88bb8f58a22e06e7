"""Run training steps of a config under torch's profiler."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerActivity, profile

from amflow_mm.apis.complexity import ClipShape, read_views
from amflow_mm.apis.profiling.attribution import time_by_part
from amflow_mm.apis.profiling.regions import DATA, OPTIMISER, PARTS, REST, named_regions, region
from amflow_mm.apis.random_clips import RandomClips, collate
from amflow_mm.apis.reporting import describe_run
from amflow_mm.errors import UserError
from amflow_mm.registry import MODELS

Source = Literal["random", "config"]
Batch = dict[str, Any]


@dataclass(frozen=True)
class ProfileOptions:
    """What to run.

    Attributes:
        steps: That are recorded.
        warm_up: Steps before them.
        batch_size: Clips of a step; None is the config's.
        shape: Frames, height and width of random clips; None is what the test pipeline yields.
        data: ``random`` clips that are there already, or those of the config's loader.
    """

    steps: int = 3
    warm_up: int = 1
    batch_size: int | None = None
    shape: tuple[int, int, int] | None = None
    data: Source = "random"

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} must be >= 1")
        if self.warm_up < 0:
            raise ValueError(f"warm_up={self.warm_up} must be >= 0")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size} must be >= 1 or None")
        if self.data not in get_args(Source):
            raise ValueError(f"data={self.data!r} must be one of {get_args(Source)}")


def profile_training(
    cfg: Config, options: ProfileOptions, trace: Path, *, is_preliminary: bool = False
) -> dict[str, Any]:
    """Train a few steps, write the trace and return where the time went.

    Image weights are left out: time does not depend on them.

    Args:
        cfg: Of an experiment.
        options: What to run.
        trace: File for chrome://tracing or ui.perfetto.dev; ``.gz`` packs it.
        is_preliminary: The machine was not left alone; the record says so.
    """
    init_default_scope(cfg.get("default_scope", "amflow_mm"))
    device = torch.device(get_device())
    if (backbone := cfg.model.get("backbone")) and backbone.get("pretrained"):
        backbone.pretrained = None
    model = MODELS.build(cfg.model).to(device).train()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    batches, batch_size = _open_batches(cfg, options)
    record = {"kind": "profile", "is_preliminary": is_preliminary} | describe_run()
    record |= {"config": Path(cfg.filename).name if cfg.filename else None}
    record |= {"device": device.type, "options": asdict(options), "batch_size": batch_size}
    train = _steps(model, optim_wrapper, batches)
    for _ in range(options.warm_up):
        next(train)
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    with named_regions(model), profile(activities=activities) as recorded:
        for _ in range(options.steps):
            next(train)
    trace.parent.mkdir(parents=True, exist_ok=True)
    recorded.export_chrome_trace(str(trace))
    on_device = device.type == "cuda"
    return record | {
        "parts": _parts(recorded.events(), options.steps, on_device=on_device),
        "operators": _operators(recorded.key_averages(), options.steps, on_device=on_device),
    }


def _steps(
    model: nn.Module, optim_wrapper: OptimWrapper, batches: Iterator[Batch]
) -> Iterator[None]:
    """Train on one batch after the other; what is not marked inside of a step is the rest."""
    update = optim_wrapper.update_params

    def marked_update(loss: Tensor) -> None:
        with region(OPTIMISER):
            update(loss)

    optim_wrapper.update_params = marked_update
    while True:
        with region(REST):
            with region(DATA):
                batch = next(batches)
            model.train_step(batch, optim_wrapper)
        yield


def _open_batches(cfg: Config, options: ProfileOptions) -> tuple[Iterator[Batch], int]:
    loader = cfg.train_dataloader
    batch_size = options.batch_size or loader.batch_size
    if options.data == "config":
        loader.batch_size = batch_size
        return _round_and_round(Runner.build_dataloader(loader, seed=0)), batch_size
    clips = RandomClips(batch_size, _clip_shape(cfg, options), cfg.model.cls_head.num_classes)
    return _round_and_round([collate(clips, batch_size)]), batch_size


def _clip_shape(cfg: Config, options: ProfileOptions) -> ClipShape:
    if options.shape is not None:
        return ClipShape(*options.shape)
    views = read_views(cfg)
    if views is None or views.shape is None:
        raise UserError(
            "the config's test pipeline does not fix the size of its frames: give --shape T "
            "HEIGHT WIDTH"
        )
    return views.shape


def _round_and_round(batches: Iterable[Batch]) -> Iterator[Batch]:
    while True:
        yield from batches


def _parts(events: EventList, steps: int, *, on_device: bool) -> list[dict[str, Any]]:
    """Return milliseconds a step of each part that took any."""
    spent = time_by_part(events, on_device=on_device)
    rows = [
        {"part": part}
        | {
            direction: 1e-3 * spent[part, direction] / steps
            for direction in ("forward", "backward")
        }
        for part in PARTS
    ]
    return [row for row in rows if row["forward"] or row["backward"]]


def _operators(averages: EventList, steps: int, *, on_device: bool) -> list[dict[str, Any]]:
    """Return calls and milliseconds a step of each operator by itself, the dearest first."""
    rows = [
        {
            "operator": entry.key,
            "calls": entry.count / steps,
            "self": 1e-3
            / steps
            * (entry.self_device_time_total if on_device else entry.self_cpu_time_total),
        }
        for entry in averages
        if entry.key.startswith("aten::")
    ]
    return sorted(rows, key=lambda row: -row["self"])
