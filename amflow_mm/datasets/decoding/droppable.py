"""Packets of frames that no other frame refers to: they need not be decoded unless asked for.

FFmpeg's own option for that (``skip_frame``) also hides packets that are damaged; therefore the
few bits that tell are read here.
"""

from collections.abc import Callable, Iterator

import av

IsDroppable = Callable[[av.Packet], bool]
"""Tells whether a packet can be left out without a change to any other frame."""

_START_CODE = b"\0\0\1"
_B_PICTURE_MPEG2 = 3
_B_PICTURE_MPEG4 = 2


def find_droppable(codec: str, extradata: bytes | None) -> IsDroppable | None:
    """Choose the test for a stream; None where there is none.

    Args:
        codec: Name of the format.
        extradata: What the container keeps for the decoder.
    """
    header = extradata or b""
    if codec == "h264":
        length_size = (header[4] & 3) + 1 if header[:1] == b"\1" and len(header) > 4 else 0
        return lambda packet: _drops_h264(bytes(packet), length_size)
    if codec == "hevc" and header[:1] == b"\1" and len(header) > 21:
        # The mark speaks of the frame's own temporal layer, hence of all where there is but one.
        num_layers, length_size = header[21] >> 3 & 7, (header[21] & 3) + 1
        return (lambda packet: _drops_hevc(bytes(packet), length_size)) if num_layers == 1 else None
    if codec == "mpeg4":
        return lambda packet: _drops_mpeg(bytes(packet), b"\0\0\1\xb6", _read_mpeg4_kind)
    if codec in ("mpeg1video", "mpeg2video"):
        return lambda packet: _drops_mpeg(bytes(packet), b"\0\0\1\0", _read_mpeg2_kind)
    return None


def _drops_h264(content: bytes, length_size: int) -> bool:
    """Tell whether all slices have ``nal_ref_idc`` 0 (ISO/IEC 14496-10, 7.4.1)."""
    has_slices = False
    for at in _list_units(content, length_size):
        kind = content[at] & 31
        if kind in (7, 8) or (kind <= 5 and content[at] >> 5):
            return False
        has_slices |= 1 <= kind <= 5
    return has_slices


def _drops_hevc(content: bytes, length_size: int) -> bool:
    """Tell whether all slices are sub-layer non-reference pictures (ISO/IEC 23008-2, 7.4.2.2)."""
    has_slices = False
    for at in _list_units(content, length_size):
        kind = content[at] >> 1 & 63
        if 32 <= kind <= 34 or (kind < 32 and (kind > 14 or kind % 2)):
            return False
        has_slices |= kind < 32
    return has_slices


def _drops_mpeg(content: bytes, start: bytes, read_kind: Callable[[bytes], bool]) -> bool:
    """Tell whether a packet holds B-pictures only."""
    pictures = content.split(start)[1:]
    return bool(pictures) and all(map(read_kind, pictures))


def _read_mpeg4_kind(picture: bytes) -> bool:
    return bool(picture) and picture[0] >> 6 == _B_PICTURE_MPEG4


def _read_mpeg2_kind(picture: bytes) -> bool:
    return len(picture) > 1 and picture[1] >> 3 & 7 == _B_PICTURE_MPEG2


def _list_units(content: bytes, length_size: int) -> Iterator[int]:
    """Yield where the units of a packet begin.

    Args:
        content: Of the packet.
        length_size: Bytes of the length before each unit; 0 where start codes part them.
    """
    if not length_size:
        at = content.find(_START_CODE)
        while 0 <= at < len(content) - len(_START_CODE):
            yield at + len(_START_CODE)
            at = content.find(_START_CODE, at + len(_START_CODE))
        return
    at = length_size
    while at < len(content):
        yield at
        at += int.from_bytes(content[at - length_size : at], "big") + length_size
