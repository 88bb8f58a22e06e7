"""Writer of small H.264 mp4 files: deterministic, atomic, cheap to read at random."""

import os
from fractions import Fraction
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


def write_video(path: str | os.PathLike[str], frames: NDArray[np.uint8], fps: int | float) -> None:
    """Encode RGB frames as H.264 (yuv420p) in an mp4 file.

    The file appears under its name only when it is whole, so a run that is cut off never leaves
    half a video behind.

    Args:
        path: target file; missing parent folders are made.
        frames: uint8 `[T height width 3]`, RGB; height and width even.
        fps: frames per second, positive.
    """
    _check_frames(frames)
    if fps <= 0:
        raise ValueError(f"fps={fps} must be > 0: a video needs a frame rate")
    with atomic_path(path) as partial:
        _encode(partial, frames, fps)


def _encode(path: Path, frames: NDArray[np.uint8], fps: int | float) -> None:
    _, height, width, _ = frames.shape
    with av.open(path, mode="w", format="mp4") as container:
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1001), options=dict(ENCODER_OPTIONS)
        )
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.gop_size = GOP_SIZE
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _check_frames(frames: NDArray[np.uint8]) -> None:
    if frames.dtype != np.uint8:
        raise ValueError(f"frames.dtype={frames.dtype} must be uint8: scale to 0..255 and convert")
    if frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(
            f"frames.shape={frames.shape} must be [T height width 3], T >= 1: RGB, channels last"
        )
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(
            f"frames are {height} x {width} pixels, but height and width must be even: "
            "yuv420p stores colour at half the resolution; crop or resize by one pixel"
        )
