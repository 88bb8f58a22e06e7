"""One video re-encoded so that scattered frames of it are cheap to read, and looked over."""

import hashlib
import json
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Interpolation
from numpy.typing import NDArray

from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.datasets.decoding.errors import unreadable
from amflow_mm.datasets.video_files.encode_options import EncodeOptions, choose_size
from amflow_mm.datasets.video_files.stream import FrameClock, WholeVideo, open_whole_video
from amflow_mm.errors import UserError

TRANSCODER = "amflow_mm reencode 1"
"""Raise the number with every change of what is written, so that older results are redone."""

MAX_TIME_ERROR = Fraction(1, 1000)
"""Seconds that a frame may be off."""


class TranscodingError(UserError, RuntimeError):
    """A video was not re-encoded; the message says why."""


class _DisorderedTimesError(Exception):
    """The time stamps of a source cannot be taken over."""


@dataclass(frozen=True)
class Transcoded:
    """A file that was written and looked over.

    Attributes:
        num_frames: Of the source and of the result.
        width: Pixels.
        height: Pixels.
        psnr: Decibels of the worst frame that was compared.
        num_bytes: Of the result.
    """

    num_frames: int
    width: int
    height: int
    psnr: float
    num_bytes: int


@dataclass(frozen=True)
class Mark:
    """From what and how a file was made; it stands in the file itself.

    Attributes:
        source: Name of the source, without its folder.
        num_bytes: Size of the source.
        changed_ns: When the source was changed.
        settings: Digest of the options.
        tool: What made it.
    """

    source: str
    num_bytes: int
    changed_ns: int
    settings: str
    tool: str = TRANSCODER


def make_mark(source: Path, options: EncodeOptions) -> Mark:
    """Return the mark that a source's result will bear."""
    status = source.stat()
    settings = json.dumps(asdict(options), sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:16]
    return Mark(source.name, status.st_size, status.st_mtime_ns, digest)


def read_mark(path: Path) -> Mark | None:
    """Return the mark of a file that was written here, None of any other file."""
    try:
        with av.open(f"file:{path}", metadata_errors="ignore") as container:
            content = json.loads(container.metadata.get("comment", ""))
        return Mark(**content)
    except (av.error.FFmpegError, OSError, ValueError, TypeError):
        return None


def transcode_video(source: Path, target: Path, options: EncodeOptions) -> Transcoded:
    """Re-encode a video; the result appears under its name when it has been looked over.

    Number and times of the frames stay, counted from the first. Rotation is applied. Sound is
    left out.

    Args:
        source: Any video.
        target: An mp4 file; one that exists is replaced.
        options: Of the encoding.

    Raises:
        UnreadableVideoError: The source is no video.
        TranscodingError: It is damaged, or the result is not as it should be.
    """
    with atomic_path(target) as partial:
        try:
            made = _Encoding(source, partial, options, keep_times=True)
        except _DisorderedTimesError:
            made = _Encoding(source, partial, options, keep_times=False)
        psnr = _look_over(partial, made)
        num_bytes = partial.stat().st_size
    return Transcoded(made.num_frames, made.width, made.height, psnr, num_bytes)


class _Encoding:
    """A source written to a file, and what is needed to look the file over."""

    def __init__(
        self, source: Path, target: Path, options: EncodeOptions, *, keep_times: bool
    ) -> None:
        self.options = options
        self.keep_times = keep_times
        self.num_frames = 0
        self.samples: dict[int, NDArray[np.uint8]] = {}
        with open_whole_video(source) as video:
            mark = json.dumps(asdict(make_mark(source, options)))
            self.clock = FrameClock(video.stream)
            with av.open(target, "w", format="mp4", options={"movflags": "+faststart"}) as output:
                output.metadata["comment"] = mark
                self._encode(video, output)
            if not self.num_frames:
                raise unreadable(source, "no_frames", "not one frame can be decoded")
            self._refuse_damage(source, video)

    def _encode(self, video: WholeVideo, output: av.container.OutputContainer) -> None:
        frames = video.frames()
        first = frame = next(frames, None)
        if first is None:
            return
        self._choose_size(first, video.pixel_aspect)
        time_base = first.time_base if self.keep_times else 1 / self.clock.rate
        stream = None
        for frame in chain([first], frames):
            self._note_time(frame)
            picture = self._convert(frame)
            stream = stream or self._add_stream(output, picture, time_base)
            picture.time_base = time_base
            picture.pts = frame.pts - first.pts if self.keep_times else self.num_frames
            output.mux(stream.encode(picture))
            if self.num_frames & (self.num_frames - 1) == 0:  # 0 and the powers of two
                self._keep_sample(frame, self.num_frames)
            self.num_frames += 1
        output.mux(stream.encode(None))
        self._keep_sample(frame, self.num_frames - 1)

    def _choose_size(self, frame: av.VideoFrame, pixel_aspect: Fraction) -> None:
        """Settle the size upright, and that before the rotation."""
        self.quarter_turns = round(frame.rotation / 90) % 4
        is_turned = self.quarter_turns % 2 == 1
        stored = frame.width, frame.height
        upright = choose_size(
            *(stored[::-1] if is_turned else stored),
            1 / pixel_aspect if is_turned else pixel_aspect,
            self.options,
        )
        self.width, self.height = upright
        self._scaled = upright[::-1] if is_turned else upright

    def _note_time(self, frame: av.VideoFrame) -> None:
        self.clock.note(frame)
        if self.keep_times and not self.clock.is_ordered:
            raise _DisorderedTimesError

    def _add_stream(
        self, output: av.container.OutputContainer, picture: av.VideoFrame, time_base: Fraction
    ) -> av.VideoStream:
        stream = output.add_stream(
            "libx264", rate=self.clock.rate, options=self.options.encoder_options()
        )
        stream.width, stream.height = self.width, self.height
        stream.pix_fmt = picture.format.name
        stream.gop_size = self.options.gop_size
        stream.time_base = stream.codec_context.time_base = time_base
        for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
            setattr(stream.codec_context, name, getattr(picture, name))
        return stream

    def _convert(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Scale and turn a frame. Matrix and primaries stay, the range is that of television."""
        picture = frame.reformat(
            *self._scaled,
            "yuv420p",
            interpolation=Interpolation.BICUBIC,
            dst_color_range=ColorRange.MPEG,
        )
        if self.quarter_turns:
            turned = av.VideoFrame.from_ndarray(
                _turn_yuv420p(picture.to_ndarray(), self.quarter_turns), format="yuv420p"
            )
            for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
                setattr(turned, name, getattr(picture, name))
            picture = turned
        # Else the encoder would copy the source's key frames.
        picture.pict_type = PictureType.NONE
        return picture

    def _keep_sample(self, frame: av.VideoFrame, index: int) -> None:
        """Keep a frame as a viewer of the source sees it, scaled."""
        image = frame.to_ndarray(
            format="rgb24",
            width=self._scaled[0],
            height=self._scaled[1],
            interpolation=Interpolation.BICUBIC,
        )
        self.samples[index] = np.rot90(image, self.quarter_turns)

    def _refuse_damage(self, source: Path, video: WholeVideo) -> None:
        findings = [video.missing_end()]
        if video.num_damaged:
            findings.append(f"packets that fail and frames with errors: {video.num_damaged}")
        findings = [finding for finding in findings if finding]
        if findings and not self.options.keep_damaged:
            raise TranscodingError(
                f"{source}: damaged ({'; '.join(findings)}); --keep-damaged writes the "
                f"{self.num_frames} frames that decode"
            )


def _turn_yuv420p(planes: NDArray[np.uint8], quarter_turns: int) -> NDArray[np.uint8]:
    """Turn a picture counter-clockwise, its three planes below each other as PyAV has them."""
    rows, width = planes.shape
    height = rows * 2 // 3
    colours = planes[height:].reshape(2, height // 2, width // 2)
    turned = [np.rot90(plane, quarter_turns) for plane in (planes[:height], *colours)]
    return np.concatenate([plane.ravel() for plane in turned]).reshape(-1, turned[0].shape[1])


def _look_over(path: Path, made: _Encoding) -> float:
    """Decode a file that was written and compare it with its source; return the lowest PSNR."""
    options = made.options
    psnr, count, last_key = np.inf, 0, 0
    with open_whole_video(path) as video:
        clock = FrameClock(video.stream)
        for frame in video.frames():
            clock.note(frame)
            last_key = count if frame.key_frame else last_key
            _require(count - last_key < options.gop_size, "key frames are too far apart")
            has_size = (frame.width, frame.height) == (made.width, made.height)
            _require(has_size and not frame.rotation, f"a frame is {frame.width}x{frame.height}")
            if count in made.samples:
                psnr = min(psnr, _psnr(frame.to_ndarray(format="rgb24"), made.samples[count]))
            count += 1
    _require(count == made.num_frames, f"{count} of {made.num_frames} frames can be read back")
    _require(not video.num_damaged, "it reads back with errors")
    pairs = zip(clock.times(), made.clock.times(), strict=True)
    worst = max(abs(ours - theirs) for ours, theirs in pairs)
    _require(worst <= MAX_TIME_ERROR, f"a frame is shown {float(worst):.3f} s off")
    _require(
        psnr >= options.min_psnr,
        f"a frame differs too much from the source: PSNR {psnr:.1f} < {options.min_psnr:g} dB; "
        "lower --crf or --min-psnr",
    )
    return float(psnr)


def _require(is_true: bool, finding: str) -> None:
    if not is_true:
        raise TranscodingError(f"the result is not as it should be and was deleted: {finding}")


def _psnr(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> float:
    error = np.mean((image.astype(np.float32) - reference.astype(np.float32)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-10)))
