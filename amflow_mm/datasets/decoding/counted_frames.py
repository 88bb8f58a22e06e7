"""Decoding of videos whose packets do not tell when their frames are shown.

AVI has no such times, MPEG programme streams lack many, and old MPEG-4 encoders put two frames
into one packet. What is left is to decode from the start and to count.
"""

from collections.abc import Iterator, Sequence
from itertools import chain

import av

from amflow_mm.datasets.decoding.decoder import Decoder
from amflow_mm.datasets.decoding.errors import unreadable
from amflow_mm.datasets.decoding.packets import Packets
from amflow_mm.datasets.decoding.time_limit import TimeLimit
from amflow_mm.datasets.decoding.timed_frames import Deliver


class CountedFrames:
    """Frames that are recognised by how many come before them.

    Args:
        num_packets: In the file.
        packets: Access to them.
        decoder: Of the stream.
        limit: Checked between packets.
    """

    def __init__(
        self, num_packets: int, packets: Packets, decoder: Decoder, limit: TimeLimit
    ) -> None:
        """Count the frames, by decoding all."""
        self._num_packets = num_packets
        self._packets = packets
        self._decoder = decoder
        self._limit = limit
        self.num_frames = sum(frame is not None for frame in self._decode_all())

    def decode(self, frames: Sequence[int], deliver: Deliver) -> None:
        """Decode frames by number, in order.

        Raises:
            UnreadableVideoError: A frame is damaged, or it took too long.
        """
        wanted = set(frames)
        last = max(wanted)
        delivered: int | None = None  # the first since the last key frame
        is_damaged = False
        index = 0
        for frame in self._decode_all():
            if frame is None or frame.is_corrupt:
                is_damaged = True
            elif frame.key_frame:
                is_damaged, delivered = False, None
            if frame is not None:
                if index in wanted:
                    deliver(index, frame)
                    delivered = index if delivered is None else delivered
                index += 1
            if is_damaged and delivered is not None:
                raise unreadable(self._limit.name, "corrupt", f"frame {delivered} is damaged")
            if index > last:
                return
        raise unreadable(self._limit.name, "corrupt", f"frame {index} cannot be decoded")

    def _decode_all(self) -> Iterator[av.VideoFrame | None]:
        """Yield the frames in the order in which they are shown, None for each damage."""
        self._decoder.restart()
        packets = (packet for _, packet in self._packets.between(0, self._num_packets - 1))
        for packet in chain(packets, [None]):  # None asks for what is still inside
            self._limit.check()
            decoded = self._decoder.decode(packet)
            yield from [None] if decoded is None else decoded
