"""The default backend: PyAV, in this process, with FFmpeg's own account of damage."""

import logging
from fractions import Fraction
from functools import cache

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8
from mmengine.logging import print_log

from amflow_mm.datasets.decoding.counted_frames import CountedFrames
from amflow_mm.datasets.decoding.decoder import Decoder
from amflow_mm.datasets.decoding.errors import unreadable
from amflow_mm.datasets.decoding.frame_table import FrameTable, PacketFacts, has_usable_times
from amflow_mm.datasets.decoding.mpeg4_order import order_mpeg4
from amflow_mm.datasets.decoding.packets import HeldPackets, Packets, codec_name, list_packets
from amflow_mm.datasets.decoding.pictures import quarter_turns, to_rgb
from amflow_mm.datasets.decoding.reader import VideoReader
from amflow_mm.datasets.decoding.source import VideoSource, open_container
from amflow_mm.datasets.decoding.time_limit import TimeLimit
from amflow_mm.datasets.decoding.timed_frames import TimedFrames


class PyAVReader(VideoReader):
    """Frames by number through PyAV.

    Opening lists the packets and decodes nothing, unless the container keeps no times. A frame is
    an error where anything that it is made from is damaged; what nobody asked for may be.

    Args:
        source: Of the video.
        num_threads: Of the decoder.
        timeout: Seconds that may be spent in all calls together.

    Attributes:
        coded_size: Height and width before rotation.
        table: Packets and frames; None where frames can only be counted.
        time_base: Seconds of a unit of the table's times; None where these are places, not times.

    Raises:
        UnreadableVideoError: It is no video, or too slow.
    """

    backend = "pyav"

    def __init__(self, source: VideoSource, *, num_threads: int = 1, timeout: float = 60.0) -> None:
        """Open the file and number its frames."""
        self.name = source.name
        self.table: FrameTable | None = None
        self.time_base: Fraction | None = None
        self._limit = TimeLimit(timeout, source.name)
        self._frames: TimedFrames | CountedFrames | None = None
        self._converter = VideoReformatter()
        self._first_look: tuple[int, bool] | None = None
        with self._limit:
            self.container = open_container(source, timeout=timeout)
            try:
                self._number_frames(source, num_threads)
            except BaseException:
                self.close()
                raise

    def _number_frames(self, source: VideoSource, num_threads: int) -> None:
        stream = self.container.streams.video[0]
        facts, packets = list_packets(source, self.container, self._limit)
        # Not the frames are compared: an edit list hides some that the header counts.
        if stream.frames > len(facts):
            _log_shortage(source.name, stream.frames, len(facts))
        decoder = Decoder(self.container, source.name, num_threads=num_threads)
        self.coded_size = decoder.size
        self._frames = self._choose_numbering(decoder, facts, packets)
        self.num_frames = self._frames.num_frames
        self.fps = float(stream.average_rate or stream.guessed_rate or 0)
        if not self.num_frames:
            raise unreadable(source.name, "no_frames", "not one frame can be decoded")

    def _choose_numbering(
        self, decoder: Decoder, facts: list[PacketFacts], packets: Packets
    ) -> TimedFrames | CountedFrames:
        """Number frames by their times, by the order of MPEG-4, or else by counting."""
        codec = codec_name(self.container)
        if _keeps_times(self.container) and has_usable_times(facts):
            self.time_base = self.container.streams.video[0].time_base
        else:
            ordered = None
            if codec == "mpeg4" and isinstance(packets, HeldPackets):
                ordered = order_mpeg4(self.container.streams.video[0], packets.packets)
            if ordered is None:
                return CountedFrames(len(facts), packets, decoder, self._limit)
            facts, packets = ordered[0], HeldPackets(ordered[1])
        self.table = FrameTable.build(facts)
        return TimedFrames(self.table, packets, decoder, self._limit)

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise that frames are turned by: 0, 90, 180 or 270."""
        return self._look()[0]

    @property
    def is_interlaced(self) -> bool:
        """Whether frames are woven of two fields."""
        return self._look()[1]

    def _look(self) -> tuple[int, bool]:
        """Tell what a decoded frame alone tells."""
        if self._first_look is None:
            self._read([0])
        return self._first_look

    @property
    def height(self) -> int:
        """Pixels of a frame as it is shown, that is after rotation."""
        return self.coded_size[self.rotation % 180 != 0]

    @property
    def width(self) -> int:
        """Pixels of a frame as it is shown, that is after rotation."""
        return self.coded_size[self.rotation % 180 == 0]

    def _read(self, frames: list[int]) -> UInt8[np.ndarray, "T height width 3"]:
        if self._frames is None:
            raise ValueError(f"{self.name} was closed: open it again to read from it")
        slots = {index: slot for slot, index in enumerate(frames)}
        images: list[np.ndarray] = []

        def keep(index: int, frame: av.VideoFrame) -> None:
            image = to_rgb(frame, self._converter, self.coded_size)
            if not images:
                images.append(np.empty((len(frames), *image.shape), np.uint8))
                self._first_look = (90 * quarter_turns(frame.rotation), frame.interlaced_frame)
            images[0][slots[index]] = image

        with self._limit:
            self._frames.decode(frames, keep)
        return images[0]

    def close(self) -> None:
        """Let go of the file and its packets; may be called again."""
        self._frames = None
        self.container.close()


def _keeps_times(container: av.container.InputContainer) -> bool:
    """Tell whether times are the file's own: AVI has none, which shows where there are B-frames."""
    context = container.streams.video[0].codec_context
    return container.format.name != "avi" or context is None or not context.has_b_frames


@cache
def _log_shortage(name: str, declared: int, found: int) -> None:
    """Tell once for each file."""
    print_log(
        f"{name}: the header declares {declared} frames, {found} are there",
        logger="current",
        level=logging.WARNING,
    )
