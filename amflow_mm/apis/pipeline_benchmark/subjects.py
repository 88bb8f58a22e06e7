"""The subjects of a run on a set of videos: MMAction2's pipelines, ours, and ours on prepared data.

Preparation is not measured: videos are re-encoded and caches filled before the clock starts.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from amflow_mm.apis.pipeline_benchmark.pipelines import (
    MMACTION2_READERS,
    Sampling,
    Step,
    augmenting,
    augmenting_on_device,
    cached,
    our_reader,
    reading,
)
from amflow_mm.apis.pipeline_benchmark.subject import Subject
from amflow_mm.apis.pipeline_benchmark.video_set import DELIMITER, VideoSet
from amflow_mm.datasets.decoding import UnreadableVideoError, open_video
from amflow_mm.datasets.packed_collate import packed_collate
from amflow_mm.datasets.shards import ShardedVideoDataset, make_shards, plan_shards
from amflow_mm.datasets.video_files.encode_options import EncodeOptions
from amflow_mm.datasets.video_files.reencode import Job, reencode_videos
from amflow_mm.datasets.video_list_dataset import VideoListDataset
from amflow_mm.errors import UserError
from amflow_mm.hashing import hash_file
from amflow_mm.progress import track

Preparation = Literal["reencode", "shards", "cache-raw", "cache-jpeg", "device"]
PREPARATIONS: tuple[Preparation, ...] = ("reencode", "shards", "cache-raw", "cache-jpeg", "device")

SHARD_BYTES = 64_000_000
REENCODING_SECONDS = 600.0
"""That one video may take."""

BASELINE = "MMAction2, decord"
BACKENDS = ("pyav", "decord", "opencv", "torchcodec")
"""What each backend imports."""


@dataclass(frozen=True)
class Choice:
    """Which subjects take part.

    Attributes:
        backends: Of our pipeline; MMAction2's with the same backend stands beside it.
        preparations: Of the data.
        sampling: Of the frames.
    """

    backends: tuple[str, ...] = ("auto",)
    preparations: tuple[Preparation, ...] = PREPARATIONS
    sampling: Sampling = "uniform"

    def __post_init__(self) -> None:
        known = ("auto", *BACKENDS)
        for name, values, options in (
            ("backends", self.backends, known),
            ("preparations", self.preparations, PREPARATIONS),
        ):
            unknown = [value for value in values if value not in options]
            if unknown:
                raise ValueError(f"{name}={values!r} must be of {', '.join(options)}")


def working_backends(video: Path) -> tuple[str, ...]:
    """Return ``auto`` and the backends that can be loaded here; a package alone does not do it."""
    return ("auto", *(name for name in BACKENDS if _is_working(name, video)))


def _is_working(backend: str, video: Path) -> bool:
    try:
        with open_video(video, backend=backend) as reader:
            reader.read([0])
    except UnreadableVideoError as error:
        return error.reason != "no_backend"
    return True


def make_subjects(videos: VideoSet, folder: Path, choice: Choice) -> list[Subject]:
    """Prepare data and return the subjects, MMAction2's decord pipeline first.

    Args:
        videos: The originals.
        folder: For lists, re-encoded videos and caches.
        choice: Which subjects.
    """
    folder = folder / re.sub(r"\W+", "_", videos.name)
    plain = Subject(
        name=BASELINE,
        videos=videos.name,
        ann_file=videos.write_list(folder / "originals.txt"),
        files=videos.paths,
        tail=augmenting(),
    )
    ours = replace(plain, dataset=VideoListDataset, collate=packed_collate)
    return [
        *_mmaction2(plain, choice),
        *_unprepared(ours, choice),
        *_reencoded(ours, videos, folder, choice),
        *_sharded(ours, folder, choice),
        *_cached(ours, folder, choice),
    ]


def _mmaction2(plain: Subject, choice: Choice) -> Iterator[Subject]:
    for name, steps in MMACTION2_READERS.items():
        if name == "decord" or name in choice.backends:
            yield _read(replace(plain, name=f"MMAction2, {name}"), steps, choice)


def _unprepared(ours: Subject, choice: Choice) -> Iterator[Subject]:
    for backend in choice.backends:
        yield _read(replace(ours, name=f"ours, {backend}"), our_reader(backend), choice)


def _reencoded(ours: Subject, videos: VideoSet, folder: Path, choice: Choice) -> Iterator[Subject]:
    if "reencode" in choice.preparations:
        copies = _reencode(videos, folder / "reencoded")
        subject = replace(
            ours,
            name="ours, re-encoded",
            ann_file=copies.write_list(folder / "reencoded.txt"),
            files=copies.paths,
        )
        yield _read(subject, our_reader("auto"), choice)


def _reencode(videos: VideoSet, folder: Path) -> VideoSet:
    jobs = [
        Job(path, folder / f"{number:06d}.mp4", EncodeOptions(), overwrite=True)
        for number, path in enumerate(videos.paths)
    ]
    processes = os.cpu_count() or 1
    done = reencode_videos(jobs, folder, num_processes=processes, timeout=REENCODING_SECONDS)
    for source, reason in done.failures().items():
        raise UserError(f"{source} cannot be re-encoded: {reason}; leave it out of the list")
    return VideoSet(videos.name, tuple(job.target for job in jobs))


def _sharded(ours: Subject, folder: Path, choice: Choice) -> Iterator[Subject]:
    if "shards" in choice.preparations:
        # Shards of other videos are never written over, so each list has a folder of its own.
        home = folder / f"shards-{hash_file(ours.ann_file)[:8]}"
        plan = plan_shards(
            str(ours.ann_file), videos="", shard_bytes=SHARD_BYTES, delimiter=DELIMITER
        )
        make_shards(plan, str(home))
        subject = replace(
            ours,
            name="ours, shards",
            ann_file=home / "index.json",
            files=_files_in(home),
            dataset=ShardedVideoDataset,
            dataset_options={},
        )
        yield _read(subject, our_reader("auto"), choice)


def _cached(ours: Subject, folder: Path, choice: Choice) -> Iterator[Subject]:
    decoded = _read(ours, our_reader("auto"), choice)
    for encoding in ("raw", "jpeg"):
        if f"cache-{encoding}" not in choice.preparations:
            continue
        home = folder / f"cache-{encoding}"
        options = {"folder": str(home), "encoding": encoding}
        subject = replace(
            ours,
            name=f"ours, clip cache, {encoding}",
            frames=cached(decoded.frames, **options),
            fixed_frames=cached(decoded.fixed_frames, **options),
        )
        _visit_all(subject)
        subject = replace(subject, files=_files_in(home))
        yield subject
        if "device" in choice.preparations:
            name = f"{subject.name}, geometry on the device"
            yield replace(subject, name=name, tail=augmenting_on_device())


def _files_in(folder: Path) -> tuple[Path, ...]:
    return tuple(path for path in sorted(folder.rglob("*")) if path.is_file())


def _read(subject: Subject, steps: tuple[Step, Step], choice: Choice) -> Subject:
    return replace(
        subject,
        frames=reading(steps, choice.sampling),
        fixed_frames=reading(steps, choice.sampling, is_fixed=True),
    )


def _visit_all(subject: Subject) -> None:
    """Fill the cache of a subject."""
    dataset = subject.build_dataset()
    for index in track(range(len(dataset)), description=f"filling: {subject.name}"):
        _ = dataset[index]
