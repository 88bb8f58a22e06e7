"""Making shards: the videos of a list in tar files of about one size, and an index of them.

Each shard is written aside, put in its place, read back, and only then noted in a file of its own
(its receipt); a run that is cut off goes on after the last receipt. The index comes last.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from amflow_mm.datasets import storage
from amflow_mm.datasets.annotation_list import AnnotationError, ListedClip
from amflow_mm.datasets.remote_files import StorageError, hide_secrets
from amflow_mm.datasets.shards.index import (
    INDEX_NAME,
    Shard,
    ShardError,
    ShardIndex,
    ShardSample,
    load_index,
)
from amflow_mm.datasets.shards.plan import ShardPlan
from amflow_mm.datasets.shards.tar_writer import BLOCK, TarWriter
from amflow_mm.progress import ProgressBar

SCRATCH_PREFIX = ".shards-"
VERIFY_BYTES = 32 << 20


def make_shards(plan: ShardPlan, out: str, *, num_threads: int = 8) -> ShardIndex:
    """Make all shards that are not there yet, then the index.

    Args:
        plan: Of ``plan_shards``.
        out: Folder or URL of the shards.
        num_threads: Videos that are read at a time.

    Raises:
        StorageError: A video cannot be read, or a shard not written.
        AnnotationError: A video is empty.
        ShardError: ``out`` holds other shards, or a shard reads back as something else.
    """
    if num_threads < 1:
        raise ShardError(f"num_threads={num_threads} must be >= 1")
    index_path = storage.join(out, INDEX_NAME)
    if storage.exists(index_path):
        index = load_index(index_path)
        if index.plan != plan.digest:
            raise ShardError(_other_plan(index_path))
        return index
    with _alone_in(out):
        shards = _read_receipts(plan, out)
        shards += _make_missing(plan, out, shards, num_threads)
        index = ShardIndex(tuple(shards), plan.digest)
        storage.write_bytes(index_path, index.dump())
        for number in range(len(shards)):
            storage.remove(_receipt_path(out, number))
    return index


def _make_missing(
    plan: ShardPlan, out: str, done: Sequence[Shard], num_threads: int
) -> list[Shard]:
    start = sum(len(shard.samples) for shard in done)
    bar = ProgressBar(len(plan.clips), "videos", start=start)
    source = _Source(plan, start, num_threads)
    shards = []
    try:
        while source.has_next:
            number = len(done) + len(shards)
            shard = _make_shard(source, out, number, bar)
            receipt = json.dumps({"plan": plan.digest, "shard": shard.to_record()})
            storage.write_bytes(_receipt_path(out, number), receipt.encode())
            shards.append(shard)
    finally:
        source.close()
        bar.close()
    return shards


def _make_shard(source: "_Source", out: str, number: int, bar: ProgressBar) -> Shard:
    """Write a shard aside, move it to its place and read it back."""
    name = f"shard-{number:06d}.tar"
    target = storage.join(out, name)
    folder = None if storage.is_remote(out) else storage.local_path(out)
    with tempfile.TemporaryDirectory(prefix=SCRATCH_PREFIX, dir=folder) as scratch:
        file = Path(scratch) / name
        with open(file, "wb") as opened:
            writer = TarWriter(opened)
            samples = []
            while source.has_next and source.next_fits(writer.num_bytes):
                samples.append(source.write_next(writer))
                bar.advance()
            writer.finish()
            opened.flush()
            os.fsync(opened.fileno())
        shard = Shard(name, writer.num_bytes, writer.sha256, tuple(samples))
        if folder is None:
            storage.upload(file, target)
        else:
            file.replace(Path(folder) / name)
    _verify(target, shard)
    return shard


class _Source:
    """The videos of a plan one after the other, some of them read ahead.

    Args:
        plan: What is read.
        start: Videos that are left out.
        num_threads: Videos that are read ahead.
    """

    def __init__(self, plan: ShardPlan, start: int, num_threads: int) -> None:
        self._plan = plan
        self._number = start
        self._pool = ThreadPoolExecutor(num_threads)
        self._waiting = iter(plan.clips[start:])
        self._read: deque[tuple[ListedClip, Future[bytes]]] = deque()
        for _ in range(num_threads):
            self._read_one_more()

    @property
    def has_next(self) -> bool:
        """Whether there are more videos."""
        return bool(self._read)

    def next_fits(self, num_bytes: int) -> bool:
        """Tell whether a shard of a size can take the next video."""
        end = num_bytes + BLOCK + len(_wait(*self._read[0]))
        return not num_bytes or end <= self._plan.shard_bytes

    def write_next(self, writer: TarWriter) -> ShardSample:
        """Append the next video to a shard.

        Raises:
            AnnotationError: It is empty.
        """
        clip, reading = self._read.popleft()
        data = _wait(clip, reading)
        if not data:
            raise AnnotationError(
                f"line {clip.line} of the list: {clip.path} is empty; repair it, or take it out"
            )
        self._read_one_more()
        key = f"{self._number:09d}"
        self._number += 1
        return writer.add(key, clip.path, self._plan.label(clip), data)

    def close(self) -> None:
        """Stop reading ahead."""
        self._pool.shutdown(cancel_futures=True)

    def _read_one_more(self) -> None:
        clip = next(self._waiting, None)
        if clip is not None:
            path = storage.join(self._plan.videos, clip.path)
            self._read.append((clip, self._pool.submit(storage.read_bytes, path)))


def _wait(clip: ListedClip, reading: Future[bytes]) -> bytes:
    try:
        return reading.result()
    except StorageError as error:
        raise type(error)(f"line {clip.line} of the list: {error}") from None


def _verify(path: str, shard: Shard) -> None:
    """Read a shard back where it stands."""
    digest = hashlib.sha256()
    for start in range(0, shard.num_bytes, VERIFY_BYTES):
        digest.update(storage.read_range(path, start, min(start + VERIFY_BYTES, shard.num_bytes)))
    if digest.hexdigest() != shard.sha256:
        raise ShardError(
            f"{hide_secrets(path)} reads back as something else than was written; look whether "
            "the disk or the network is sound, then start again"
        )


def _read_receipts(plan: ShardPlan, out: str) -> list[Shard]:
    """Return the shards that an earlier run has finished."""
    digest, shards = plan.digest, []
    while True:
        path = _receipt_path(out, len(shards))
        try:
            receipt = json.loads(storage.read_text(path))
            shard = Shard.from_record(receipt["shard"])
        except storage.MissingStoredFileError:
            return shards
        except (KeyError, TypeError, ValueError) as error:
            raise ShardError(
                f"{hide_secrets(path)} is damaged ({error}); remove it, and the run goes on there"
            ) from None
        if receipt.get("plan") != digest:
            raise ShardError(_other_plan(path))
        target = storage.join(out, shard.file)
        if not storage.exists(target) or storage.file_size(target) != shard.num_bytes:
            return shards
        shards.append(shard)


def _receipt_path(out: str, number: int) -> str:
    return storage.join(out, f"shard-{number:06d}.receipt.json")


def _other_plan(path: str) -> str:
    return (
        f"{hide_secrets(path)} belongs to shards of another list, order or size; choose another "
        "--out, or remove that folder"
    )


@contextmanager
def _alone_in(out: str) -> Iterator[None]:
    """Keep a second run out of a local folder, and remove what a killed one has left there."""
    if storage.is_remote(out):
        yield
        return
    folder = Path(storage.local_path(out))
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / f"{SCRATCH_PREFIX}lock"
    try:
        with FileLock(lock, timeout=0):
            for leftover in folder.glob(f"{SCRATCH_PREFIX}*/"):
                shutil.rmtree(leftover)
            yield
            lock.unlink(missing_ok=True)
    except Timeout:
        raise ShardError(f"another run is making shards in {folder}; wait for its end") from None
