"""What is wrong, or only odd, about one video file: found by decoding all of it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from amflow_mm.datasets.decoding.errors import UnreadableVideoError
from amflow_mm.datasets.video_files.mp4_boxes import lacks_index
from amflow_mm.datasets.video_files.stream import (
    FrameClock,
    WholeVideo,
    open_whole_video,
)

EXAMINATION_VERSION = "1"
"""Raise it with every change that may alter a report: journals of old runs are then not used."""

Kind = Literal[
    "missing",
    "unreadable",
    "audio-only",
    "zero-frame",
    "one-frame",
    "timeout",
    "crash",
    "truncated",
    "damaged",
    "variable-rate",
    "disordered",
    "rotated",
    "odd-sized",
    "changing-size",
]
"""What a file can be reported for.

``missing``: there is no such file. ``unreadable``: not a video, or none that decodes.
``audio-only``: no video stream, or that of a cover picture alone. ``zero-frame`` and
``one-frame``: not enough to see motion in. ``timeout`` and ``crash``: what became of the process
that decoded it. ``truncated``: the end that the header promises is not there. ``damaged``: packets
do not decode, or frames decode with errors. ``variable-rate``: steps between frames differ.
``disordered``: time stamps lack or go back. ``rotated``: players are asked to turn it.
``odd-sized``: height or width is odd. ``changing-size``: frames differ in size.
"""

KINDS: tuple[Kind, ...] = get_args(Kind)

UNUSABLE_KINDS: tuple[Kind, ...] = KINDS[: KINDS.index("crash") + 1]
"""Kinds that nothing can be trained on. What is truncated or damaged still shows its other
frames; with less than two of them it is also of one of these kinds."""


KINDS_OF_REASONS: dict[str | None, tuple[Kind, ...]] = {
    "missing": ("missing",),
    "no_video_stream": ("audio-only",),
}
"""What files are reported for that cannot be opened; for other reasons ``unreadable``."""


@dataclass(frozen=True)
class FileReport:
    """What is known of a file.

    Attributes:
        path: Of the file.
        kinds: What it is reported for; none if all is well.
        detail: The same in words.
        num_frames: Frames that decode.
        declared_frames: Frames as the header counts them, None where it does not.
        num_damaged: Packets that do not decode and frames that decode with errors.
        fps: Frames per second, the average where the rate varies.
        width: Pixels of a frame as it is shown, that is after rotation.
        height: Likewise.
        rotation: Degrees counter-clockwise that the file asks for.
        gop_size: Longest distance of key frames, in frames; what a random access costs.
        seconds: From the first frame to the end of the last.
        codec: Name of the format, such as ``h264``.
        pixel_format: FFmpeg's name, such as ``yuv420p``.
        has_audio: Whether there is sound.
        num_bytes: Size of the file.
    """

    path: str
    kinds: tuple[Kind, ...] = ()
    detail: str = ""
    num_frames: int = 0
    declared_frames: int | None = None
    num_damaged: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    rotation: int = 0
    gop_size: int = 0
    seconds: float = 0.0
    codec: str = ""
    pixel_format: str = ""
    has_audio: bool = False
    num_bytes: int = 0


def examine_video(path: str) -> FileReport:
    """Decode a file from its first frame to its last and report what was met."""
    num_bytes = os.path.getsize(path) if os.path.isfile(path) else 0
    try:
        with open_whole_video(path) as video:
            return _Walk(video).report(path, num_bytes)
    except UnreadableVideoError as error:
        kinds = KINDS_OF_REASONS.get(error.reason, ("unreadable",))
        if kinds == ("unreadable",) and lacks_index(path):
            kinds = ("unreadable", "truncated")
        detail = str(error).removeprefix(f"{path}: ")
        return FileReport(path, kinds, detail, num_bytes=num_bytes)


class _Walk:
    """One walk over all frames of a video, and what it shows."""

    def __init__(self, video: WholeVideo) -> None:
        self.video = video
        self.clock = FrameClock(video.stream)
        self.num_frames = 0
        self.rotation = 0
        self.sizes: dict[tuple[int, int], None] = {}
        self.gop_size = 0
        last_key = 0
        for frame in video.frames():
            self.clock.note(frame)
            self.sizes[frame.width, frame.height] = None
            if frame.key_frame:
                self.gop_size = max(self.gop_size, self.num_frames - last_key)
                last_key = self.num_frames
            self.num_frames += 1
            self.rotation = round(frame.rotation) % 360
        self.gop_size = max(self.gop_size, self.num_frames - last_key)

    def report(self, path: str, num_bytes: int) -> FileReport:
        findings = dict(self._findings())
        times = self.clock.times()
        # The last frame is taken to stand as long as the others do on average.
        span = float(times[-1]) if times else 0.0
        steps = self.num_frames - 1
        rate = float(self.video.stream.average_rate or 0)
        fps = steps / span if span else rate
        context = self.video.stream.codec_context
        width, height = next(iter(self.sizes), (0, 0))
        if self.rotation % 180:
            width, height = height, width
        return FileReport(
            path,
            kinds=tuple(kind for kind in KINDS if kind in findings),
            detail="; ".join(findings.values()),
            num_frames=self.num_frames,
            declared_frames=self.video.declared_frames,
            num_damaged=self.video.num_damaged,
            fps=round(fps, 3),
            width=width,
            height=height,
            rotation=self.rotation,
            gop_size=self.gop_size,
            seconds=round(span + (1 / fps if fps else 0.0), 3),
            codec=context.codec.canonical_name,
            pixel_format=context.pix_fmt or "",
            has_audio=self.video.has_audio,
            num_bytes=num_bytes,
        )

    def _findings(self) -> Iterator[tuple[Kind, str]]:
        yield from self._lacks()
        if self.num_frames > 1 and not self.clock.is_ordered:
            yield "disordered", "time stamps lack or go back"
        # Where frames were lost, uneven steps say nothing about the video as it was made.
        if self.clock.is_variable and not self.video.num_damaged:
            yield "variable-rate", "the steps between frames differ"
        if self.rotation:
            yield "rotated", f"players turn it by {self.rotation} degrees counter-clockwise"
        if any(width % 2 or height % 2 for width, height in self.sizes):
            yield "odd-sized", "height or width is odd"
        if len(self.sizes) > 1:
            sizes = ", ".join(f"{width}x{height}" for width, height in self.sizes)
            yield "changing-size", f"frames of {sizes}"

    def _lacks(self) -> Iterator[tuple[Kind, str]]:
        video, count = self.video, self.num_frames
        if count == 0 and video.num_packets:
            yield "unreadable", f"none of {video.num_packets} packets can be decoded"
        elif count == 0:
            yield "zero-frame", "the video stream holds no frame"
        elif count == 1:
            yield "one-frame", "the video is a single frame"
        missing_end = video.missing_end()
        if missing_end:
            yield "truncated", missing_end
        if video.num_damaged:
            yield "damaged", f"packets that fail and frames with errors: {video.num_damaged}"
