"""Which packet holds which frame: the numbering of frames that every backend keeps to.

Frame i is the i-th that is shown. Packets stand in a file in the order in which they are decoded,
so their times are sorted; nothing has to be decoded for it. Left out are packets of which no frame
comes: those before the first key frame, those that an edit list hides, those that only serve other
frames, and those that the end of a truncated file cut in two.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import av

MAX_UNCODED_BYTES = 8
"""Size up to which a packet of MPEG-4 part 2 holds no picture but says that nothing changed."""


class PacketFacts(NamedTuple):
    """What the table needs of a packet.

    Attributes:
        pts: Time at which its frame is shown, in units of the stream; None where it has none.
        dts: Time at which it is decoded.
        is_key: Whether decoding can start here.
        is_shown: Whether a frame comes of it.
    """

    pts: int | None
    dts: int | None
    is_key: bool
    is_shown: bool


def describe_packet(packet: av.Packet, codec: str) -> PacketFacts:
    """Note of a packet what the table needs."""
    is_shown = not (packet.is_discard or packet.is_corrupt or _is_silent(packet, codec))
    return PacketFacts(packet.pts, packet.dts, packet.is_keyframe, is_shown)


def _is_silent(packet: av.Packet, codec: str) -> bool:
    """Tell whether a packet of an old format leads to no frame of its own."""
    if codec == "mpeg4":
        return packet.size <= MAX_UNCODED_BYTES
    # The bit `show_frame` of RFC 6386, section 9.1.
    return codec == "vp8" and not memoryview(packet)[0] & 0x10


class Run(NamedTuple):
    """Packets to be decoded in one go.

    Attributes:
        first: Position of the first, a key frame.
        last: Position of the last.
    """

    first: int
    last: int


@dataclass(frozen=True)
class FrameTable:
    """The frames of a video and the packets that hold them.

    Attributes:
        packets: In the order of the file, that is of decoding.
        positions: Position in ``packets`` for each frame, in the order in which they are shown.
        starts: Position of the key frame from which each frame can be decoded.
    """

    packets: Sequence[PacketFacts]
    positions: Sequence[int]
    starts: Sequence[int]

    @classmethod
    def build(cls, packets: Sequence[PacketFacts]) -> "FrameTable":
        """Sort packets with times by the time at which they are shown."""
        keys = [at for at, packet in enumerate(packets) if packet.is_key] or [0]
        first = keys[0]
        shown = sorted(
            (packet.pts, at)
            for at, packet in enumerate(packets)
            if packet.is_shown and at >= first and packet.pts >= packets[first].pts
        )
        positions = [at for _, at in shown]
        starts = [_find_start(packets, keys, at) for at in positions]
        return cls(packets, positions, starts)

    @property
    def num_frames(self) -> int:
        """Number of frames that are shown."""
        return len(self.positions)

    @cached_property
    def times(self) -> list[int]:
        """Time at which each frame is shown, in units of the stream."""
        return [self.packets[at].pts for at in self.positions]

    @property
    def gop_size(self) -> int:
        """Longest distance of key frames, in packets."""
        keys = [at for at, packet in enumerate(self.packets) if packet.is_key] or [0]
        ends = [*keys[1:], len(self.packets)]
        return max(end - start for start, end in zip(keys, ends, strict=True))

    def runs(self, frames: Iterable[int]) -> list[Run]:
        """Group frames into runs of packets; key frames start a new one where that saves work."""
        runs: list[Run] = []
        for at, start in sorted((self.positions[i], self.starts[i]) for i in frames):
            first = start
            while runs and first <= runs[-1].last + 1:
                first = min(first, runs.pop().first)
            runs.append(Run(first, at))
        return runs


def has_usable_times(packets: Sequence[PacketFacts]) -> bool:
    """Tell whether each packet has a time of its own."""
    times = {packet.pts for packet in packets}
    return None not in times and len(times) == len(packets)


def _find_start(packets: Sequence[PacketFacts], keys: Sequence[int], at: int) -> int:
    """Find the key frame that decoding has to start from.

    A frame that follows a key frame in the file and precedes it in time may refer to what stands
    before the key frame.
    """
    which = bisect_right(keys, at) - 1
    while which > 0 and packets[keys[which]].pts > packets[at].pts:
        which -= 1
    return keys[max(which, 0)]
