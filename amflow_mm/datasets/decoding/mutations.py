"""Damage as it happens to video files, and as nobody would do it on purpose."""

import struct
from collections.abc import Callable
from random import Random

CONTAINER_BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"dinf")
"""MP4 boxes that consist of boxes."""

MAX_FLIPS = 64


def flip_bits(content: bytes, rng: Random) -> bytes:
    """Turn up to 64 bits over, anywhere."""
    return _flip(content, rng, 0, len(content))


def flip_header_bits(content: bytes, rng: Random) -> bytes:
    """Turn up to 64 bits over in the first or the last kilobytes, where headers and indexes are."""
    span = min(4096, len(content))
    start = rng.choice([0, len(content) - span])
    return _flip(content, rng, start, start + span)


def truncate(content: bytes, rng: Random) -> bytes:
    """Cut the end off, from one byte to all but one."""
    return content[: rng.randrange(1, len(content))]


def zero_range(content: bytes, rng: Random) -> bytes:
    """Overwrite up to a quarter of the file with zeros, as a lost block of a disk does."""
    length = rng.randrange(1, max(len(content) // 4, 2))
    start = rng.randrange(len(content) - length + 1)
    return content[:start] + bytes(length) + content[start + length :]


def remove_range(content: bytes, rng: Random) -> bytes:
    """Leave up to 4 kilobytes out, so that all that follows is elsewhere."""
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.randrange(1, 4096) :]


def swap_boxes(content: bytes, rng: Random) -> bytes:
    """Exchange two neighbouring MP4 boxes; in other formats two neighbouring stretches."""
    boxes = [siblings for siblings in _list_boxes(content, 0, len(content)) if len(siblings) > 1]
    if boxes:
        siblings = rng.choice(boxes)
        at = rng.randrange(len(siblings) - 1)
        (first, middle), (_, last) = siblings[at], siblings[at + 1]
    else:
        first, middle, last = sorted(rng.randrange(len(content) + 1) for _ in range(3))
    return content[:first] + content[middle:last] + content[first:middle] + content[last:]


MUTATIONS: dict[str, Callable[[bytes, Random], bytes]] = {
    "flip bits": flip_bits,
    "flip header bits": flip_header_bits,
    "truncate": truncate,
    "zero a range": zero_range,
    "remove a range": remove_range,
    "swap boxes": swap_boxes,
}


def mutate(content: bytes, seed: int) -> tuple[str, bytes]:
    """Damage a file; the seed chooses the kind of damage and the place.

    Args:
        content: At least two bytes.
        seed: Consecutive ones go through the kinds in turn.

    Returns:
        The kind of damage and the damaged file.
    """
    kind = list(MUTATIONS)[seed % len(MUTATIONS)]
    return kind, MUTATIONS[kind](content, Random(seed))


def _flip(content: bytes, rng: Random, start: int, end: int) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.randint(1, MAX_FLIPS)):
        damaged[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _list_boxes(content: bytes, start: int, end: int) -> list[list[tuple[int, int]]]:
    """Find the MP4 boxes: spans of siblings, level by level; nothing in other formats."""
    siblings: list[tuple[int, int]] = []
    levels = [siblings]
    while start + 8 <= end:
        size, name = struct.unpack_from(">I4s", content, start)
        if size < 8 or start + size > end or not name.isalnum():
            break
        siblings.append((start, start + size))
        if name in CONTAINER_BOXES:
            levels += _list_boxes(content, start + 8, start + size)
        start += size
    return levels
