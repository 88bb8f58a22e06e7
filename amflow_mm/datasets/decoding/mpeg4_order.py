"""Order of the frames of MPEG-4 part 2 (DivX, XviD) in AVI files.

AVI keeps no times. Worse, its writers put a B-frame into the packet of the frame before it
("packed bitstream") and an empty packet where the B-frame would have been, which is what HMDB51
and many other collections consist of. Unpacked, the order follows from the kinds of frames alone:
B-frames are shown at once, others wait for the next one that is no B-frame. Without this such
files would have to be decoded from the start, once to count and once to read.
"""

from collections.abc import Sequence

import av
from av.bitstream import BitStreamFilterContext

from amflow_mm.datasets.decoding.frame_table import MAX_UNCODED_BYTES, PacketFacts

_PICTURE_START = b"\0\0\1\xb6"
_KINDS = "IPBS"
"""Kinds of pictures by the two bits behind the start code (ISO/IEC 14496-2, table 6-20)."""


def order_mpeg4(
    stream: av.VideoStream, packets: Sequence[av.Packet]
) -> tuple[list[PacketFacts], list[av.Packet]] | None:
    """Give each packet a single frame, and as its time the place of that frame.

    Args:
        stream: Of the packets.
        packets: All of them.

    Returns:
        The new packets and what is known of each; None where they are not as expected, which
        leaves the frames to be counted.
    """
    try:
        unpacked = _unpack(stream, packets)
    except av.error.FFmpegError:
        return None
    kinds = [_picture_kind(packet) for packet in unpacked]
    if not unpacked or None in kinds:
        return None
    facts = []
    for at, (packet, place) in enumerate(zip(unpacked, _places(kinds), strict=True)):
        packet.pts, packet.dts = place, at
        is_shown = not (packet.is_discard or packet.is_corrupt)
        facts.append(PacketFacts(place, at, kinds[at] == "I", is_shown))
    return facts, unpacked


def _unpack(stream: av.VideoStream, packets: Sequence[av.Packet]) -> list[av.Packet]:
    unpacker = BitStreamFilterContext("mpeg4_unpack_bframes", stream)
    unpacked = [part for packet in packets for part in unpacker.filter(packet)]
    unpacked += unpacker.filter(None)
    return [packet for packet in unpacked if packet.size > MAX_UNCODED_BYTES]


def _picture_kind(packet: av.Packet) -> str | None:
    """Read the kind of the only picture of a packet; None if there is another number of them."""
    content = bytes(packet)
    at = content.find(_PICTURE_START) + len(_PICTURE_START)
    if content.count(_PICTURE_START) != 1 or at >= len(content):
        return None
    return _KINDS[content[at] >> 6]


def _places(kinds: Sequence[str]) -> list[int]:
    """Find at which place each picture is shown."""
    order: list[int] = []
    waiting: list[int] = []
    for at, kind in enumerate(kinds):
        if kind == "B":
            order.append(at)
        else:
            order += waiting
            waiting = [at]
    places = [0] * len(kinds)
    for place, at in enumerate(order + waiting):
        places[at] = place
    return places
