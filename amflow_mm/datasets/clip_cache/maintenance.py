"""Look at a whole cache: what is in it, whether it is sound, and away with what nobody needs."""

import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.datasets.clip_cache import shards
from amflow_mm.datasets.clip_cache.index import find_whole, pack_record, parse_records
from amflow_mm.datasets.clip_cache.keys import Digest
from amflow_mm.errors import UserError
from amflow_mm.progress import ProgressBar


@dataclass
class RecipeShare:
    """What a cache holds of one recipe.

    Attributes:
        clips: Different clips.
        num_bytes: Their payloads.
        text: How they are made, in JSON; empty where the cache does not tell.
    """

    clips: int
    num_bytes: int
    text: str

    def summary(self) -> str:
        """Return steps and encoding on one line."""
        if not self.text:
            return "unknown"
        content = json.loads(self.text)
        names = [step["type"].rpartition(".")[2] for step in content["steps"]]
        how = content["encoding"]
        return f"{', '.join(names)}; {how}" + (f" {content['quality']}" if how == "jpeg" else "")


@dataclass
class Survey:
    """What a cache holds.

    Attributes:
        num_bytes: All of its files.
        shards: Number of shards.
        duplicates: Clips that are there more than once, as two writers that meet leave them.
        is_in_use: Whether a process that may write has it open.
        recipes: Share of each recipe, by number.
    """

    num_bytes: int
    shards: int
    duplicates: int
    is_in_use: bool
    recipes: dict[int, RecipeShare] = field(default_factory=dict)

    @property
    def clips(self) -> int:
        """Number of different clips."""
        return sum(share.clips for share in self.recipes.values())


def survey(folder: Path) -> Survey:
    """Count what a cache holds; reads the indices alone."""
    names = shards.list_shards(require_cache(folder))
    records = np.concatenate([_read_records(folder, name) for name in names])
    keys = np.stack([records["key"], records["key_rest"]], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    different = records[np.sort(first)]
    found = Survey(
        num_bytes=shards.folder_bytes(folder),
        shards=len(names),
        duplicates=len(records) - len(different),
        is_in_use=not _is_free(folder),
    )
    for number in np.unique(different["recipe"]).tolist():
        of_recipe = different[different["recipe"] == number]
        path = shards.recipe_path(folder, number)
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        found.recipes[number] = RecipeShare(len(of_recipe), int(of_recipe["length"].sum()), text)
    return found


def verify(folder: Path) -> Counter[str]:
    """Compare the checksums of all clips; returns how many are ``sound`` and ``damaged``."""
    names = list(shards.list_shards(require_cache(folder)))
    counts = Counter(sound=0, damaged=0)
    bar = _bar(folder, names, "checksums")
    try:
        for name in names:
            for _, payload in _payloads(folder, name):
                counts["damaged" if payload is None else "sound"] += 1
                bar.advance()
    finally:
        bar.close()
    return counts


def prune(folder: Path, wanted: Set[Digest]) -> Counter[str]:
    """Remove all clips but some, and what is damaged or there twice.

    Shards are replaced one at a time, each at once, so that a run that is cut off loses nothing and
    readers never miss a clip. Takes as much additional space as the largest shard.

    Returns:
        How many clips were ``kept``, ``stale``, ``damaged`` or ``duplicate``, and ``freed`` bytes.

    Raises:
        UserError: A process that may write has the cache open.
    """
    require_cache(folder)
    counts = Counter(kept=0, stale=0, damaged=0, duplicate=0)
    with _held_alone(folder):
        before = shards.folder_bytes(folder)
        _remove_leftovers(folder)
        names = list(shards.list_shards(folder))
        seen: set[Digest] = set()
        bar = _bar(folder, names, "clips")
        try:
            for name in names:
                _prune_shard(folder, name, wanted, seen, counts, bar)
        finally:
            bar.close()
        _remove_recipes(folder)
        counts["freed"] = before - shards.folder_bytes(folder)
    return counts


def require_cache(folder: Path) -> Path:
    """Return a folder that holds a cache.

    Raises:
        UserError: It does not.
    """
    if not shards.list_shards(folder):
        raise UserError(f"{folder} holds no clip cache: there is no *{shards.INDEX_SUFFIX} in it")
    return folder


def _prune_shard(
    folder: Path,
    name: str,
    wanted: Set[Digest],
    seen: set[Digest],
    counts: Counter[str],
    bar: ProgressBar,
) -> None:
    """Replace a shard by what is wanted of it; one of which all is wanted stays."""
    kept, num_bytes = [], 0
    for position, (record, payload) in enumerate(_payloads(folder, name)):
        bar.advance()
        key = (int(record["key"]), int(record["key_rest"]))
        if key not in wanted:
            counts["stale"] += 1
        elif payload is None:
            counts["damaged"] += 1
        elif key in seen:
            counts["duplicate"] += 1
        else:
            seen.add(key)
            counts["kept"] += 1
            kept.append(position)
            num_bytes += len(payload)
    data, index = shards.data_path(folder, name), shards.index_path(folder, name)
    records = _read_records(folder, name)
    is_tight = data.is_file() and data.stat().st_size == num_bytes
    if len(kept) == len(records) and is_tight and index.stat().st_size == records.nbytes:
        return
    if kept:
        _copy_shard(folder, name, set(kept))
    # In this order: what has no index is no shard.
    index.unlink()
    data.unlink(missing_ok=True)


def _copy_shard(folder: Path, name: str, positions: Set[int]) -> None:
    """Write some clips of a shard to a new one, which appears when it is on the disk."""
    new, end, copied = shards.new_shard_name(), 0, []
    with open(shards.data_path(folder, new), "xb") as file:
        for position, (record, payload) in enumerate(_payloads(folder, name)):
            if position in positions:
                file.write(payload)
                copied.append((record, end))
                end += len(payload)
        file.flush()
        os.fsync(file.fileno())
    with atomic_path(shards.index_path(folder, new)) as partial:
        partial.write_bytes(b"".join(_moved(record, offset) for record, offset in copied))


def _moved(record: np.void, offset: int) -> bytes:
    return pack_record(
        (int(record["key"]), int(record["key_rest"])),
        int(record["recipe"]),
        offset=offset,
        length=int(record["length"]),
        checksum=int(record["checksum"]),
    )


def _read_records(folder: Path, name: str) -> NDArray[np.void]:
    records = parse_records(shards.index_path(folder, name).read_bytes())
    return records[find_whole(records)]


def _payloads(folder: Path, name: str) -> Iterator[tuple[np.void, bytes | None]]:
    """Yield each record of a shard with its payload, None where that is damaged."""
    path = shards.data_path(folder, name)
    records = _read_records(folder, name)
    if not path.is_file():
        yield from ((record, None) for record in records)
        return
    with open(path, "rb") as file:
        for record in records:
            file.seek(int(record["offset"]))
            payload = file.read(int(record["length"]))
            is_whole = len(payload) == record["length"]
            yield (
                record,
                payload if is_whole and zlib.crc32(payload) == record["checksum"] else None,
            )


def _remove_leftovers(folder: Path) -> None:
    """Remove what writers that were killed have left: data without index, half-written files."""
    indices = shards.list_shards(folder)
    for path in folder.glob(f"*{shards.DATA_SUFFIX}"):
        if path.stem not in indices:
            path.unlink()
    for path in folder.rglob(".*.part"):
        path.unlink()


def _remove_recipes(folder: Path) -> None:
    names = shards.list_shards(folder)
    used = {int(n) for name in names for n in np.unique(_read_records(folder, name)["recipe"])}
    for path in (folder / shards.RECIPES).glob("*.json"):
        if int(path.stem, 16) not in used:
            path.unlink()


def _bar(folder: Path, names: list[str], description: str) -> ProgressBar:
    return ProgressBar(sum(len(_read_records(folder, name)) for name in names), description)


def _is_free(folder: Path) -> bool:
    if not os.access(folder, os.W_OK):
        return True
    descriptor = shards.open_file(folder / shards.WRITERS_LOCK)
    try:
        return shards.try_lock(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _held_alone(folder: Path) -> Iterator[None]:
    descriptor = shards.open_file(folder / shards.WRITERS_LOCK)
    try:
        if not shards.try_lock(descriptor):
            raise UserError(
                f"{folder} is in use: a training or `fill` may be writing to it; wait for its end"
            )
        yield
    finally:
        os.close(descriptor)
