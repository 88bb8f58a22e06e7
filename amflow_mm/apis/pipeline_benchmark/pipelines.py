"""The pipelines that are compared, as configs have them: MMAction2's and ours."""

from typing import Any, Literal

from mmaction.datasets.transforms import (
    DecordDecode,
    DecordInit,
    Flip,
    FormatShape,
    OpenCVDecode,
    OpenCVInit,
    PackActionInputs,
    PyAVDecode,
    PyAVInit,
    RandomResizedCrop,
    Resize,
    SampleFrames,
    UniformSample,
)

from amflow_mm.datasets.transforms.cached_clip import CachedClip
from amflow_mm.datasets.transforms.clip_geometry import PlanFlip, PlanResize
from amflow_mm.datasets.transforms.decode import VideoDecode, VideoInit

Step = dict[str, Any]
Sampling = Literal["uniform", "dense"]

SHORT_SIDE, CROP_SIDE, NUM_FRAMES, FRAME_INTERVAL = 256, 224, 8, 8

MMACTION2_READERS: dict[str, tuple[Step, Step]] = {
    "decord": (dict(type=DecordInit, num_threads=1), dict(type=DecordDecode)),
    "pyav": (dict(type=PyAVInit), dict(type=PyAVDecode, multi_thread=False)),
    "opencv": (dict(type=OpenCVInit), dict(type=OpenCVDecode)),
}


def reading(
    steps: tuple[Step, Step], sampling: Sampling, *, is_fixed: bool = False
) -> tuple[Step, ...]:
    """Return the steps from a path to 8 frames with a short side of 256.

    Args:
        steps: One that opens the video, one that decodes.
        sampling: ``uniform``: one frame of each eighth of the video; ``dense``: one in 8.
        is_fixed: Whether the same frames are taken at each visit, as in validation.
    """
    if sampling == "uniform":
        drawing = dict(type=UniformSample, clip_len=NUM_FRAMES, test_mode=is_fixed)
    elif sampling == "dense":
        span = {"clip_len": NUM_FRAMES, "frame_interval": FRAME_INTERVAL, "num_clips": 1}
        drawing = dict(type=SampleFrames, **span, test_mode=is_fixed)
    else:
        raise ValueError(f"sampling={sampling!r} must be 'uniform' or 'dense'")
    opening, decoding = steps
    return opening, drawing, decoding, dict(type=Resize, scale=(-1, SHORT_SIDE))


def our_reader(backend: str) -> tuple[Step, Step]:
    """Return our steps that open and decode with a backend."""
    return dict(type=VideoInit, backend=backend), dict(type=VideoDecode)


def cached(steps: tuple[Step, ...], **options: Any) -> tuple[Step, ...]:
    """Return one step that runs others once for each video.

    Args:
        steps: What is cached.
        **options: Of ``CachedClip``.
    """
    return (dict(type=CachedClip, steps=list(steps), **options),)


def augmenting() -> tuple[Step, ...]:
    """Return MMAction2's steps from frames to a packed clip of 224 x 224."""
    return (
        dict(type=RandomResizedCrop),
        dict(type=Resize, scale=(CROP_SIDE, CROP_SIDE), keep_ratio=False),
        dict(type=Flip, flip_ratio=0.5),
        dict(type=FormatShape, input_format="NCTHW"),
        dict(type=PackActionInputs),
    )


def augmenting_on_device() -> tuple[Step, ...]:
    """Return the steps that pack the crop and leave its resizing and flipping to the device."""
    return (
        dict(type=RandomResizedCrop),
        dict(type=FormatShape, input_format="NCTHW"),
        dict(type=PackActionInputs),
        dict(type=PlanResize, scale=(CROP_SIDE, CROP_SIDE)),
        dict(type=PlanFlip, flip_ratio=0.5),
    )


def packing() -> tuple[Step, ...]:
    """Return the steps that pack frames squeezed to a square, for sizes may differ by a pixel."""
    return (
        dict(type=Resize, scale=(CROP_SIDE, CROP_SIDE), keep_ratio=False),
        dict(type=FormatShape, input_format="NCTHW"),
        dict(type=PackActionInputs),
    )
