"""Writer of small H.264 mp4 files: deterministic, atomic, cheap to read at random."""

import os
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from amflow_mm.datasets.atomic_file import atomic_path

# A key frame every four frames and no B-frames: a sampler that asks for scattered frames
# decodes at most three others for each.
GOP_SIZE = 4
ENCODER_OPTIONS = {
    "crf": "18",
    "preset": "veryfast",
    "bf": "0",
    # One thread: the bytes do not depend on the number of cores, and small frames do not gain.
    "threads": "1",
    # Plain C instead of the processor's vector units: the same bytes on every machine. It costs
    # a hundredth of a second for a small clip.
    "x264-params": "asm=0",
}


def write_video(
    path: str | os.PathLike[str],
    frames: Iterable[NDArray[np.uint8]],
    fps: int | float,
    *,
    gop_size: int = GOP_SIZE,
    encoder_options: Mapping[str, str] | None = None,
) -> None:
    """Encode RGB frames as H.264 (yuv420p) in an mp4 file.

    One frame at a time is asked for, so that a generator writes a video of any length. The file
    appears under its name only when it is whole, so a run that is cut off never leaves half a
    video behind.

    Args:
        path: target file; missing parent folders are made.
        frames: uint8 `[height width 3]` each, RGB; all of one size, height and width even. An
            array `[T height width 3]` is a series of such frames.
        fps: frames per second, positive.
        gop_size: frames from a key frame to the next, at most; scene cuts bring further ones.
        encoder_options: of libx264, over those of ``ENCODER_OPTIONS``; ``{"bf": "2"}`` brings
            B-frames, ``{"sc_threshold": "0"}`` keeps key frames at even distances.
    """
    if fps <= 0:
        raise ValueError(f"fps={fps} must be > 0: a video needs a frame rate")
    if gop_size < 1:
        raise ValueError(f"gop_size={gop_size} must be >= 1: 1 makes each frame a key frame")
    options = {**ENCODER_OPTIONS, **(encoder_options or {})}
    with atomic_path(path) as partial:
        _encode(partial, _checked(frames), fps, gop_size, options)


def _encode(
    path: Path,
    frames: Iterator[NDArray[np.uint8]],
    fps: int | float,
    gop_size: int,
    options: dict[str, str],
) -> None:
    first = next(frames)
    with av.open(path, mode="w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1001), options=options
        )
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop_size
        for frame in chain([first], frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _checked(frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
    """Yield the frames, at least one, as long as each can be encoded after the first."""
    size = None
    for index, frame in enumerate(frames):
        _check_frame(frame, index)
        size = size or frame.shape[:2]
        if frame.shape[:2] != size:
            raise ValueError(
                f"frames[{index}].shape={frame.shape} must be that of the first frame, "
                f"{(*size, 3)}: a video has one size; resize or crop"
            )
        yield frame
    if size is None:
        raise ValueError("frames is empty: a video needs at least one frame")


def _check_frame(frame: NDArray[np.uint8], index: int) -> None:
    if frame.dtype != np.uint8:
        raise ValueError(
            f"frames[{index}].dtype={frame.dtype} must be uint8: scale to 0..255 and convert"
        )
    if frame.ndim != 3 or frame.shape[-1] != 3:
        raise ValueError(
            f"frames[{index}].shape={frame.shape} must be [height width 3]: RGB, channels last"
        )
    height, width = frame.shape[:2]
    if height % 2 or width % 2:
        raise ValueError(
            f"frames are {height} x {width} pixels, but height and width must be even: "
            "yuv420p stores colour at half the resolution; crop or resize by one pixel"
        )
