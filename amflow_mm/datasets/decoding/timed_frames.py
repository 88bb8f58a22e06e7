"""Decoding of videos whose packets tell when their frames are shown."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import av
from av.video.frame import PictureType

from amflow_mm.datasets.decoding.decoder import Decoder
from amflow_mm.datasets.decoding.errors import unreadable
from amflow_mm.datasets.decoding.frame_table import FrameTable, Run
from amflow_mm.datasets.decoding.packets import Packets
from amflow_mm.datasets.decoding.time_limit import TimeLimit

_REFERRING = (PictureType.P, PictureType.B)
"""Kinds of frames that cannot be decoded on their own."""

Deliver = Callable[[int, av.VideoFrame], None]
"""Takes a frame's number and the frame."""


class _Outcome(NamedTuple):
    """What came of decoding.

    Attributes:
        lost: Frames that did not come out whole.
        is_doubtful: Whether a run began at a key frame that is none, as streams mark them that are
            refreshed bit by bit, or frames are missing though nothing was damaged. Then decoding
            from the start may help.
    """

    lost: list[int]
    is_doubtful: bool


class TimedFrames:
    """Frames that are recognised by their times.

    Decoding starts at the key frame before a frame and ends with its packet. In between, frames
    that no other refers to are left out unless they are asked for; that changes no other frame.
    """

    def __init__(
        self, table: FrameTable, packets: Packets, decoder: Decoder, limit: TimeLimit
    ) -> None:
        """Keep the parts."""
        self._is_droppable = decoder.is_droppable
        self._table = table
        self._packets = packets
        self._decoder = decoder
        self._limit = limit
        self.num_frames = table.num_frames

    def decode(self, frames: Sequence[int], deliver: Deliver) -> None:
        """Decode frames by number; their order is not kept, one may be delivered again.

        Raises:
            UnreadableVideoError: A frame is damaged, or it took too long.
        """
        outcome = self._attempt(self._table.runs(frames), frames, deliver, can_drop=True)
        if outcome.lost and outcome.is_doubtful:
            last = max(self._table.positions[i] for i in outcome.lost)
            outcome = self._attempt([Run(0, last)], outcome.lost, deliver, can_drop=False)
        if outcome.lost:
            raise unreadable(self._limit.name, "corrupt", f"frame {outcome.lost[0]} is damaged")

    def _attempt(
        self, runs: Sequence[Run], frames: Sequence[int], deliver: Deliver, *, can_drop: bool
    ) -> _Outcome:
        """Decode runs of packets."""
        table = self._table
        waiting = {table.times[i]: i for i in frames}
        kept = {table.positions[i] for i in frames} if can_drop else None
        damage: list[int] = []
        is_doubtful = False
        for run in runs:
            head = table.packets[run.first]
            needs_proof = run.first > 0 and head.is_shown
            for frame in self._decode_run(run, kept, damage):
                if frame.is_corrupt:
                    damage.append(self._position(frame.pts, run))
                if needs_proof and frame.pts == head.pts:
                    needs_proof = frame.pict_type in _REFERRING
                index = waiting.pop(frame.pts, None)
                if index is not None:
                    deliver(index, frame)
            if needs_proof:
                damage.append(run.first)
                is_doubtful = True
        starts, positions = table.starts, table.positions
        spoilt = {i for i in frames if any(starts[i] <= at <= positions[i] for at in damage)}
        missing = set(waiting.values())
        return _Outcome(sorted(spoilt | missing), is_doubtful or not missing <= spoilt)

    def _decode_run(
        self, run: Run, kept: set[int] | None, damage: list[int]
    ) -> Iterator[av.VideoFrame]:
        """Decode packets in turn; positions of damaged ones are added to ``damage``."""
        decoder = self._decoder
        decoder.restart()
        for at, packet in self._packets.between(*run):
            self._limit.check()
            if self._is_left_out(at, packet, kept):
                continue
            decoded = decoder.decode(packet)
            if decoded is None:
                # Threads report an error some packets later.
                damage.append(max(at - decoder.num_threads + 1, run.first))
            else:
                yield from decoded
        decoded = decoder.decode(None)
        if decoded is None:
            damage.append(max(run.last - decoder.num_threads + 1, run.first))
        else:
            yield from decoded

    def _is_left_out(self, at: int, packet: av.Packet, kept: set[int] | None) -> bool:
        """Tell whether a packet may be left out; with None for those to keep, none is."""
        if kept is None or at in kept or self._is_droppable is None:
            return False
        return self._is_droppable(packet)

    def _position(self, time: int | None, run: Run) -> int:
        """Find the packet of a damaged frame; the whole run where there is no telling."""
        positions = (at for at, p in enumerate(self._table.packets) if p.pts == time)
        return next(positions, run.first)
