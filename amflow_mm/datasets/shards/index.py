"""The index of a set of shards: which video stands where, under which label."""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from amflow_mm.datasets import storage
from amflow_mm.datasets.remote_files import hide_secrets
from amflow_mm.errors import UserError

FORMAT = "amflow-shards"
VERSION = 1
INDEX_NAME = "index.json"

PARALLEL_LOOKUPS = 16
"""Shards that are looked up at a time; stores answer slowly, but many at once."""


class ShardError(UserError, ValueError):
    """Shards or their index are not what they should be."""


class ShardSample(NamedTuple):
    """A video within a shard.

    Args:
        key: Name of its members of the tar file, without what follows the dot.
        path: Path that it had in the list.
        label: Class, or classes where a video may have several.
        offset: Where its bytes begin in the tar file.
        size: How many there are.
        crc32: Their checksum.
    """

    key: str
    path: str
    label: int | tuple[int, ...]
    offset: int
    size: int
    crc32: int


@dataclass(frozen=True)
class Shard:
    """A tar file.

    Args:
        file: Its name beside the index.
        num_bytes: Its size.
        sha256: Its digest in hexadecimal.
        samples: Its videos in their order.
    """

    file: str
    num_bytes: int
    sha256: str
    samples: tuple[ShardSample, ...]

    def to_record(self) -> dict[str, Any]:
        """Return what is written into the index."""
        return {
            "file": self.file,
            "bytes": self.num_bytes,
            "sha256": self.sha256,
            "samples": [list(sample) for sample in self.samples],
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Shard":
        """Make a shard of what stands in an index.

        Raises:
            KeyError, TypeError, ValueError: The record is no such thing.
        """
        samples = tuple(_to_sample(row) for row in record["samples"])
        shard = cls(record["file"], record["bytes"], record["sha256"], samples)
        shard._check()
        return shard

    def _check(self) -> None:
        if not (isinstance(self.file, str) and self.file and "/" not in self.file):
            raise ValueError(f"{self.file!r} is not the name of a file beside the index")
        if not (isinstance(self.sha256, str) and len(self.sha256) == 64 and self.sha256.isalnum()):
            raise ValueError(f"sha256 {self.sha256!r} of {self.file} is no digest")
        if not (_is_count(self.num_bytes) and self.samples):
            raise ValueError(f"{self.file} has {self.num_bytes!r} bytes, no size of a shard")
        for sample in self.samples:
            if sample.offset + sample.size > self.num_bytes:
                raise ValueError(
                    f"{sample.path} ends at byte {sample.offset + sample.size} of {self.file}, "
                    f"which has {self.num_bytes}"
                )


@dataclass(frozen=True)
class ShardIndex:
    """All shards of a set.

    Args:
        shards: In the order of their numbers.
        plan: Digest of what the shards were made of: list, order, size.
    """

    shards: tuple[Shard, ...]
    plan: str

    def __len__(self) -> int:
        """Videos in all."""
        return sum(len(shard.samples) for shard in self.shards)

    def dump(self) -> bytes:
        """Return the text of the index, a line for each video."""
        records = [shard.to_record() for shard in self.shards]
        rows = [_lines(record.pop("samples")) for record in records]
        shards = ",\n".join(
            json.dumps(record)[:-1] + f', "samples": [\n{lines}\n]}}'
            for record, lines in zip(records, rows, strict=True)
        )
        head = {"format": FORMAT, "version": VERSION, "plan": self.plan}
        columns = json.dumps(list(ShardSample._fields))
        return (
            f'{json.dumps(head)[:-1]}, "columns": {columns}, "shards": [\n{shards}\n]}}\n'.encode()
        )


def load_index(path: str) -> ShardIndex:
    """Read an index.

    Args:
        path: Path or URL of ``index.json``.

    Raises:
        StorageError: It cannot be read.
        ShardError: It is no index, one of a newer version, or contradicts itself.
    """
    shown = hide_secrets(path)
    try:
        content = json.loads(storage.read_text(path))
    except ValueError as error:
        raise ShardError(f"{shown} is not JSON ({error}); is it the {INDEX_NAME}?") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ShardError(f"{shown} is no index of shards; tools/data/make_shards.py writes one")
    if content.get("version") != VERSION:
        raise ShardError(
            f"{shown} has version {content.get('version')!r}, but this program knows {VERSION}; "
            "update it, or make the shards anew"
        )
    try:
        index = _parse(content)
    except (KeyError, TypeError, ValueError) as error:
        raise ShardError(
            f"{shown} is damaged ({type(error).__name__}: {error}); make the shards anew"
        ) from None
    return index


def check_index(
    path: str, *, num_classes: int | None = None, is_multi_class: bool = False
) -> ShardIndex:
    """Read an index, and look whether labels and shards are what they should be.

    Args:
        path: Path or URL of the index.
        num_classes: Bound of the labels; None where it is unknown.
        is_multi_class: Whether a video may have several labels.

    Raises:
        StorageError: The index cannot be read, or the storage not be asked.
        ShardError: The index is damaged, a label outside the classes, or a shard missing.
    """
    index = load_index(path)
    check_labels(path, index, num_classes, is_multi_class=is_multi_class)
    check_shards(path, index)
    return index


def check_labels(
    path: str, index: ShardIndex, num_classes: int | None, *, is_multi_class: bool
) -> None:
    """Look whether the labels are what they should be.

    Args:
        path: Path or URL of the index, for the message.
        index: The index.
        num_classes: Bound of the labels; None where it is unknown.
        is_multi_class: Whether a video may have several labels.

    Raises:
        ShardError: One is not.
    """
    bound = math.inf if num_classes is None else num_classes
    for shard in index.shards:
        for sample in shard.samples:
            has_several = isinstance(sample.label, tuple)
            if has_several != is_multi_class:
                remedy = f"multi_class={is_multi_class}, but the shards were made for the other"
                raise ShardError(
                    f"{hide_secrets(path)}: {sample.path} has {sample.label}; {remedy}"
                )
            labels = sample.label if has_several else (sample.label,)
            wrong = next((label for label in labels if not 0 <= label < bound), None)
            if wrong is not None:
                raise ShardError(
                    f"{hide_secrets(path)}: label {wrong} of {sample.path} in {shard.file} is not "
                    f"within the classes; labels start at 0, and num_classes is {num_classes}"
                )


def check_shards(path: str, index: ShardIndex) -> None:
    """Look whether all shards are there in full size.

    Args:
        path: Path or URL of the index.
        index: The index.

    Raises:
        ShardError: One is missing, or of another size.
        StorageError: The storage cannot be asked.
    """
    with ThreadPoolExecutor(PARALLEL_LOOKUPS) as pool:
        findings = list(pool.map(lambda shard: _look_up(locate(path, shard), shard), index.shards))
    wrong = [finding for finding in findings if finding]
    if wrong:
        raise ShardError(
            f"{hide_secrets(path)}: {wrong[0]} ({len(wrong)} of {len(findings)} shards are missing "
            "or damaged); copy the shards again, or make them anew"
        )


def locate(path: str, shard: Shard) -> str:
    """Return the path or URL of a shard, which stands beside its index."""
    folder, _, _ = path.rpartition("/")
    return storage.join(folder, shard.file)


def _look_up(file: str, shard: Shard) -> str | None:
    try:
        found = storage.file_size(file)
    except storage.MissingStoredFileError:
        return f"{hide_secrets(file)} does not exist"
    if found != shard.num_bytes:
        return f"{hide_secrets(file)} has {found} bytes where {shard.num_bytes} were written"
    return None


def _parse(content: dict[str, Any]) -> ShardIndex:
    if content["columns"] != list(ShardSample._fields):
        raise ValueError(f"columns {content['columns']} are not {list(ShardSample._fields)}")
    shards = tuple(Shard.from_record(record) for record in content["shards"])
    for what, names in (
        ("shard", (shard.file for shard in shards)),
        ("key", (sample.key for shard in shards for sample in shard.samples)),
    ):
        _refuse_repeats(what, names)
    if not shards:
        raise ValueError("it lists no shards")
    return ShardIndex(shards, content["plan"])


def _refuse_repeats(what: str, names: Iterator[str]) -> None:
    name, count = max(Counter(names).items(), key=lambda item: item[1], default=("", 0))
    if count > 1:
        raise ValueError(f"{what} {name!r} stands {count} times")


def _to_sample(row: Sequence[Any]) -> ShardSample:
    key, path, label, *numbers = row
    labels = label if isinstance(label, list) else [label]
    if not (isinstance(key, str) and isinstance(path, str)):
        raise TypeError(f"{row!r} lacks key or path")
    if not (labels and all(type(number) is int for number in labels)):
        raise TypeError(f"label {label!r} of {path} is not a whole number")
    if len(numbers) != 3 or not all(map(_is_count, numbers)):
        raise TypeError(f"{numbers} of {path} are not offset, size and checksum")
    return ShardSample(key, path, tuple(label) if isinstance(label, list) else label, *numbers)


def _is_count(number: Any) -> bool:
    return type(number) is int and number >= 0


def _lines(rows: list[list[Any]]) -> str:
    return ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
