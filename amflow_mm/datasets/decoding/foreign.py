"""Decord, OpenCV and TorchCodec, made to number frames as PyAV does.

They run in a child process (see `child.py`) because damaged files can hang or crash them. Where
they number frames in another way they are corrected, or they refuse:

- Decord seeks wrongly wherever a frame refers to what stands before its key frame (open groups of
  pictures, most HEVC, MPEG-2 and MPEG-4); it reads everything in a row.
- OpenCV seeks wrongly where the frame rate varies; it reads everything in a row, too. A frame that
  it loses to damage would shift those behind it, which the times betray. It does not convert
  interlaced frames, without saying so.
- TorchCodec goes by a list of all frames, as we do (``seek_mode="exact"``), sorted by times, which
  some files do not keep. In streams that are refreshed bit by bit instead of having key frames it
  cannot seek, without saying so.

None of the three tells that a frame is damaged.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from amflow_mm.datasets.decoding.errors import UnreadableVideoError, unreadable
from amflow_mm.datasets.decoding.source import VideoSource

MISNUMBERED = {
    ("decord", "mpegts"): "Decord leaves out the first frames of MPEG transport streams",
    ("torchcodec", "mpeg"): "TorchCodec counts one more frame in MPEG programme streams",
}
"""Backends that number the frames of a container (FFmpeg's name) wrongly."""

CHUNK = 32
"""Frames that Decord reads at a time where it reads in a row."""

Images = UInt8[np.ndarray, "T height width 3"]


@dataclass(frozen=True)
class Request:
    """Frames that a child process is asked for.

    Attributes:
        source: Of the video.
        num_threads: Of the decoder.
        num_frames: That the video has.
        frames: Numbers in order, without repeats.
        times: Seconds at which all frames are shown; None where the file keeps no times.
        container: FFmpeg's name of the format of the file.
        is_interlaced: Whether frames are woven of two fields.
    """

    source: VideoSource
    num_threads: int
    num_frames: int
    frames: Sequence[int]
    times: Sequence[float] | None
    container: str
    is_interlaced: bool


def read_decord(request: Request) -> Images:
    """Read frames through MMAction2's own transforms around Decord."""
    from mmaction.datasets.transforms import DecordDecode, DecordInit

    opening, decoding = DecordInit(num_threads=request.num_threads), DecordDecode()
    opening.file_client = _Content(request.source)  # bytes of URLs, and any name
    results = opening.transform({"filename": "video.mp4"})
    if results["total_frames"] < request.num_frames:
        found = f"{results['total_frames']} of {request.num_frames}"
        raise _refusal(request, f"Decord finds {found} frames")
    video = results["video_reader"]

    def decode(indices: Sequence[int]) -> list[np.ndarray]:
        wanted = {"video_reader": video, "frame_inds": np.asarray(indices)}
        return decoding.transform(wanted)["imgs"]

    kept = set(request.frames)
    images = []
    for start in range(0, request.frames[-1] + 1, CHUNK):
        indices = range(start, min(start + CHUNK, request.frames[-1] + 1))
        images += [image for i, image in zip(indices, decode(indices), strict=True) if i in kept]
    return np.stack(images)


class _Content:
    """What MMAction2 takes for a client of a file system."""

    def __init__(self, source: VideoSource) -> None:
        self._source = source

    def get(self, _: str) -> bytes:
        """Return the bytes of the one file there is."""
        if self._source.content is not None:
            return self._source.content
        return Path(self._source.name).read_bytes()


def read_opencv(request: Request) -> Images:
    """Read frames in a row and keep those asked for."""
    import cv2

    if request.is_interlaced:
        raise _inability(request, "OpenCV does not convert interlaced frames")
    kept = set(request.frames)
    images = []
    with _as_file(request.source) as path:
        options = [cv2.CAP_PROP_N_THREADS, request.num_threads]
        video = cv2.VideoCapture(path, cv2.CAP_FFMPEG, options)
        try:
            for index in range(request.frames[-1] + 1):
                if not video.grab():
                    raise _refusal(request, f"OpenCV cannot decode frame {index}")
                if index in kept:
                    _check_time(request, index, video.get(cv2.CAP_PROP_POS_MSEC) / 1000)
                    images.append(cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2RGB))
        finally:
            video.release()
    return np.stack(images)


def read_torchcodec(request: Request) -> Images:
    """Read frames by number."""
    if request.times is None:
        raise _inability(request, "TorchCodec needs the times of frames, which this file lacks")
    from torchcodec.decoders import VideoDecoder

    content = request.source.content
    decoder = VideoDecoder(
        request.source.name if content is None else content,
        seek_mode="exact",
        dimension_order="NHWC",
        num_ffmpeg_threads=request.num_threads,
    )
    if decoder.metadata.num_frames != request.num_frames:
        raise _refusal(
            request,
            f"TorchCodec finds {decoder.metadata.num_frames} of {request.num_frames} frames",
        )
    return decoder.get_frames_at(indices=list(request.frames)).data.numpy()


def read(backend: str, request: Request) -> Images:
    """Read frames with a backend.

    Raises:
        UnreadableVideoError: It cannot, or would deliver other frames.
    """
    misnumbered = MISNUMBERED.get((backend, request.container))
    if misnumbered is not None:
        raise _inability(request, misnumbered)
    return _READERS[backend](request)


_READERS: dict[str, Callable[[Request], Images]] = {
    "decord": read_decord,
    "opencv": read_opencv,
    "torchcodec": read_torchcodec,
}


def load_package(backend: str) -> None:
    """Import what a backend needs, so that it does not count as time spent on a video.

    Raises:
        ImportError: Or whatever a package raises that is not whole.
    """
    if backend == "decord":
        import decord  # noqa: F401
        import mmaction.datasets.transforms  # noqa: F401
    elif backend == "opencv":
        import cv2  # noqa: F401
    else:
        import torchcodec.decoders  # noqa: F401


def _refusal(request: Request, detail: str) -> UnreadableVideoError:
    return unreadable(request.source.name, "corrupt", detail)


def _inability(request: Request, detail: str) -> UnreadableVideoError:
    return unreadable(request.source.name, "no_decoder", detail)


def _check_time(request: Request, index: int, time: float) -> None:
    """Raise where a frame is shown at another time than the one that was asked for."""
    if request.times is None:
        return
    nearest = int(np.abs(np.asarray(request.times) - time).argmin())
    if nearest != index:
        raise _refusal(request, f"OpenCV delivers frame {nearest} in place of frame {index}")


@contextmanager
def _as_file(source: VideoSource) -> Iterator[str]:
    """Give a fetched video a path for a moment."""
    if source.content is None:
        yield source.name
        return
    with tempfile.NamedTemporaryFile(suffix=Path(source.name).suffix) as file:
        file.write(source.content)
        file.flush()
        yield file.name
