"""The boxes of an MP4 file at its top, to tell a file that was cut off from one that never was."""

import os
from collections.abc import Iterator

WHOLE_FILE = 0
LONG_SIZE = 1


def lacks_index(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file begins as an MP4 file but has not its index, which may stand last."""
    names = list(_whole_boxes(path))
    return names[:1] == [b"ftyp"] and b"moov" not in names


def _whole_boxes(path: str | os.PathLike[str]) -> Iterator[bytes]:
    """Yield the names of the boxes that end before the file does."""
    with open(path, "rb") as file:
        end = file.seek(0, os.SEEK_END)
        place = 0
        while place + 8 <= end:
            file.seek(place)
            header = file.read(16)
            size = int.from_bytes(header[:4], "big")
            if size == LONG_SIZE:
                size = int.from_bytes(header[8:], "big")
            size = end - place if size == WHOLE_FILE else size
            if size < 8 or place + size > end:
                return
            yield header[4:8]
            place += size
