"""Fill a cache ahead of time, and tell which of its clips data sets still ask for."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from amflow_mm.datasets.clip_cache.keys import SOURCES, Digest
from amflow_mm.datasets.transforms.cached_clip import CachedClip, Filled
from amflow_mm.datasets.video_files.parallel import run_isolated
from amflow_mm.errors import UserError
from amflow_mm.registry import TRANSFORMS

ESTIMATE_AFTER = 50
"""Clips after which the final size is estimated."""

_INNER = ("dataset", "videos", "datasets")
"""Attributes under which data sets around others keep these."""

Item = tuple[int, int, int]
"""Numbers of the data set, the video and the draw."""


class CachedDataset(NamedTuple):
    """A data set whose pipeline has a CachedClip.

    Attributes:
        dataset: The data set.
        before: The steps in front.
        step: The CachedClip.
    """

    dataset: Any
    before: list[Callable]
    step: CachedClip

    def annotations(self, index: int) -> dict[str, Any] | None:
        """Return what the CachedClip is called with."""
        results = self.dataset.get_data_info(index)
        for step in self.before:
            results = step(results)
            if results is None:
                return None
        return results


@dataclass
class FillReport:
    """What became of the clips.

    Attributes:
        counts: Clips by what was done with them.
        num_bytes: Payloads of those that are there now.
        failures: Video and reason of those that could not be decoded.
        is_full: Whether the cache took no more and the rest was left.
    """

    counts: Counter[Filled] = field(default_factory=Counter)
    num_bytes: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    is_full: bool = False

    @property
    def num_kept(self) -> int:
        """Clips that are there now."""
        return self.counts["stored"] + self.counts["present"]


class ClipFiller:
    """Store one clip at a time; picklable, for child processes.

    Args:
        parts: Data sets to store clips of.
    """

    def __init__(self, parts: Sequence[CachedDataset]) -> None:
        self.parts = list(parts)

    def __call__(self, item: Item) -> tuple[Filled, int]:
        """Store a clip; returns what was done, and its bytes."""
        number, index, draw = item
        part = self.parts[number]
        results = part.annotations(index)
        return ("given up", 0) if results is None else part.step.fill(results, draw)

    def items(self) -> list[Item]:
        """Return all that there is to do, all first draws in front."""
        items = [
            (draw, number, index)
            for number, part in enumerate(self.parts)
            for index in range(len(part.dataset))
            for draw in range(part.step.num_draws)
        ]
        return [(number, index, draw) for draw, number, index in sorted(items)]

    def name_of(self, item: Item) -> str:
        """Return the path of a clip's video."""
        number, index, _ = item
        info = self.parts[number].dataset.get_data_info(index)
        return str(next((info[name] for name in SOURCES if name in info), f"sample {index}"))


def find_cached(dataset: Any) -> Iterator[CachedDataset]:
    """Yield a data set, or those that it consists of, if the pipeline has a CachedClip."""
    pipeline = getattr(dataset, "pipeline", None)
    steps = list(getattr(pipeline, "transforms", ()))
    places = [place for place, step in enumerate(steps) if isinstance(step, CachedClip)]
    for place in places:
        yield CachedDataset(dataset, steps[:place], steps[place])
    if not places:
        for name in _INNER:
            inner = getattr(dataset, name, None)
            for part in inner if isinstance(inner, list | tuple) else [inner]:
                if part is not None:
                    yield from find_cached(part)


def fill_cache(
    parts: Sequence[CachedDataset],
    *,
    num_processes: int,
    timeout: float,
    rank: int = 0,
    world_size: int = 1,
    announce: Callable[[str], None],
) -> FillReport:
    """Store all clips of data sets in child processes; what is there already is left.

    Args:
        parts: The data sets.
        num_processes: Child processes.
        timeout: Seconds that one clip may take.
        rank: Number of this machine.
        world_size: Machines that share the work.
        announce: Called with an estimate of the final size once there is one.
    """
    if not 0 <= rank < world_size:
        raise UserError(f"--rank {rank} must be 0 to {world_size - 1}, one less than --world-size")
    filler, report = ClipFiller(parts), FillReport()
    everything = filler.items()
    outcomes = run_isolated(
        filler,
        everything[rank::world_size],
        num_processes=num_processes,
        timeout=timeout,
        description="clips",
    )
    for item, outcome in outcomes:
        if outcome.error is not None:
            report.failures.append((filler.name_of(item), outcome.error.text))
            continue
        done, num_bytes = outcome.value
        if done == "refused":
            report.is_full = True
            outcomes.close()
            break
        report.counts[done] += 1
        report.num_bytes += num_bytes
        if report.num_kept == ESTIMATE_AFTER:
            size = report.num_bytes / ESTIMATE_AFTER
            announce(
                f"{size / 1e3:.0f} kB a clip: {len(everything)} clips will take about "
                f"{size * len(everything) / 1e9:.1f} GB"
            )
    return report


def wanted_keys(parts: Sequence[CachedDataset]) -> set[Digest]:
    """Return the keys of all clips that data sets ask for."""
    filler = ClipFiller(parts)
    keys = set()
    for number, index, draw in filler.items():
        part = filler.parts[number]
        results = part.annotations(index)
        if results is not None:
            keys.add(part.step.key_of(results, draw).digest)
    return keys


def with_folder(config: Any, folder: str) -> Any:
    """Return a config in which every CachedClip uses a folder."""
    if isinstance(config, list | tuple):
        return type(config)(with_folder(item, folder) for item in config)
    if not isinstance(config, Mapping):
        return config
    changed = {key: with_folder(value, folder) for key, value in config.items()}
    return {**changed, "folder": folder} if _is_cached_clip(config.get("type")) else changed


def _is_cached_clip(type_: Any) -> bool:
    # Data sets have types, too, which this registry need not know.
    is_named = isinstance(type_, str) and type_.endswith(CachedClip.__name__)
    return (TRANSFORMS.get(type_) if is_named else type_) is CachedClip
