"""The packets of a video stream: listed once, then handed out from any position."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Protocol

import av

from amflow_mm.datasets.decoding.errors import unreadable
from amflow_mm.datasets.decoding.frame_table import PacketFacts, describe_packet
from amflow_mm.datasets.decoding.source import VideoSource, open_container
from amflow_mm.datasets.decoding.time_limit import TimeLimit

MAX_HELD_BYTES = 64 << 20
"""Files up to this size stay in memory between listing and decoding, which saves a second read."""

PacketsFrom = tuple[av.container.InputContainer, Iterator[av.Packet], int]
"""An open file, its packets from some position on, and that position."""


class Packets(Protocol):
    """Access to packets by their position in the file."""

    def between(self, first: int, last: int) -> Iterator[tuple[int, av.Packet]]:
        """Yield packets ``first`` to ``last`` with their positions, maybe some before them."""


class HeldPackets:
    """Packets that are kept in memory."""

    def __init__(self, packets: Sequence[av.Packet]) -> None:
        """Keep the packets."""
        self.packets = packets

    def between(self, first: int, last: int) -> Iterator[tuple[int, av.Packet]]:
        """Yield packets ``first`` to ``last`` with their positions."""
        yield from enumerate(self.packets[first : last + 1], start=first)


class StoredPackets:
    """Packets that are read again from a file too large to be kept.

    Args:
        source: Of the video.
        facts: Of its packets, by position.
    """

    def __init__(self, source: VideoSource, facts: Sequence[PacketFacts]) -> None:
        """Note what identifies each packet."""
        self._source = source
        self._facts = facts
        self._positions = {packet.pts: at for at, packet in enumerate(facts)}

    def between(self, first: int, last: int) -> Iterator[tuple[int, av.Packet]]:
        """Yield packets up to ``last``, from ``first`` or, where seeking misses, from earlier."""
        found = self._seek(first) if self._facts[first].dts is not None else None
        if found is None:
            container = open_container(self._source)
            found = container, read_packets(container), 0
        container, packets, start = found
        with container:
            for at, packet in enumerate(packets, start=start):
                if at > last:
                    return
                yield at, packet

    def _seek(self, first: int) -> PacketsFrom | None:
        """Go to a key frame; None where the file leads to a later one, or to nothing known."""
        container = open_container(self._source)
        try:
            container.seek(self._facts[first].dts, stream=container.streams.video[0])
            packets = read_packets(container)
            head = next(packets)
        except (av.error.FFmpegError, StopIteration):
            container.close()
            return None
        at = self._positions.get(head.pts)
        if at is None or at > first:
            container.close()
            return None
        return container, chain([head], packets), at


def read_packets(container: av.container.InputContainer) -> Iterator[av.Packet]:
    """Yield the packets of the first video stream, the empty one that ends it left out."""
    return (packet for packet in container.demux(video=0) if packet.size)


def codec_name(container: av.container.InputContainer) -> str:
    """Return the format of the first video stream, such as ``h264``; empty without a decoder."""
    context = container.streams.video[0].codec_context
    return "" if context is None else context.codec.canonical_name


def list_packets(
    source: VideoSource,
    container: av.container.InputContainer,
    limit: TimeLimit,
) -> tuple[list[PacketFacts], Packets]:
    """Go through a file once, without decoding.

    Args:
        source: Of the video.
        container: The same, opened and not yet read from.
        limit: Checked between packets.

    Returns:
        What is known of each packet, and access to them.

    Raises:
        UnreadableVideoError: There is not one packet, or it took too long.
    """
    facts: list[PacketFacts] = []
    codec = codec_name(container)
    held: list[av.Packet] | None = [] if source.num_bytes <= MAX_HELD_BYTES else None
    try:
        for packet in read_packets(container):
            limit.check()
            facts.append(describe_packet(packet, codec))
            if held is not None:
                held.append(packet)
    except av.error.ExitError as error:
        raise unreadable(source.name, "timeout", "reading from the file took too long") from error
    except (av.error.FFmpegError, IndexError) as error:
        # What comes behind the damage cannot be found; what came before it is there. An IndexError
        # is PyAV's at streams that damaged headers announce on the way.
        if not facts:
            cause = error.strerror if isinstance(error, OSError) else "its streams are in disorder"
            detail = f"its frames cannot be found ({cause})"
            raise unreadable(source.name, "corrupt", detail) from error
    if not facts:
        raise unreadable(source.name, "no_frames", "the video stream holds not one frame")
    return facts, HeldPackets(held) if held is not None else StoredPackets(source, facts)
