"""Tar files of videos as WebDataset reads them, written front to back."""

import hashlib
import json
import re
import tarfile
import zlib
from pathlib import PurePosixPath
from typing import BinaryIO

from amflow_mm.datasets.shards.index import ShardSample

BLOCK = tarfile.BLOCKSIZE
RECORD = tarfile.RECORDSIZE

UNKNOWN_SUFFIX = ".video"
"""Of members whose video has no suffix that could tell its kind."""

TAKEN_SUFFIXES = {".cls", ".json"}


class TarWriter:
    """A tar file in the making.

    The members of a video share a key: ``000000012.mp4`` is the video as it was, ``000000012.cls``
    its label as text, and ``000000012.json`` path and label. Nothing in the file depends on when
    or by whom it was written, so that the same videos make the same bytes.

    Args:
        file: Open file that takes the bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.num_bytes = 0
        self._file = file
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Digest of what was written so far."""
        return self._digest.hexdigest()

    def add(self, key: str, path: str, label: int | tuple[int, ...], data: bytes) -> ShardSample:
        """Append a video.

        Args:
            key: Name of its members, without a dot.
            path: Path in the list.
            label: Class or classes.
            data: Bytes of the video.
        """
        offset = self._add_member(key + member_suffix(path), data)
        if not isinstance(label, tuple):
            self._add_member(f"{key}.cls", str(label).encode())
        facts = {"path": path, "label": label}
        self._add_member(f"{key}.json", json.dumps(facts, ensure_ascii=False).encode())
        return ShardSample(key, path, label, offset, len(data), zlib.crc32(data))

    def finish(self) -> None:
        """Write the end: two empty blocks, and more up to a whole record."""
        self._write(bytes(2 * BLOCK + -(self.num_bytes + 2 * BLOCK) % RECORD))

    def _add_member(self, name: str, data: bytes) -> int:
        """Append a file and return where its bytes begin."""
        header = tarfile.TarInfo(name)
        header.size = len(data)
        self._write(header.tobuf(tarfile.GNU_FORMAT))
        offset = self.num_bytes
        self._write(data)
        self._write(bytes(-len(data) % BLOCK))
        return offset

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._digest.update(data)
        self.num_bytes += len(data)


def member_suffix(path: str) -> str:
    """Return the suffix of a video in small letters, by which readers tell kinds of members."""
    suffix = PurePosixPath(path).suffix.lower()
    is_usable = re.fullmatch(r"\.[a-z0-9]+", suffix) and suffix not in TAKEN_SUFFIXES
    return suffix if is_usable else UNKNOWN_SUFFIX
