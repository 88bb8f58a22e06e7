"""What is kept of a clip: the frames, as pixels or as JPEG, and what the steps said of them."""

import json
import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from amflow_mm.datasets.clip_cache.values import pack_value, unpack_value

Encoding = Literal["jpeg", "raw"]
Frame = NDArray[np.uint8]

_HEADER = struct.Struct("<I")


class Clip(NamedTuple):
    """Frames with what else the steps have changed in the results.

    Attributes:
        frames: uint8 `[height width 3]` each, RGB, of one size.
        values: Keys that the steps have set, with their values.
        removed: Keys that they have removed.
    """

    frames: list[Frame]
    values: dict[str, Any]
    removed: list[str]


class ClipEncoding:
    """Clips to bytes and back.

    JPEG keeps colour at full resolution: halving it saves a fifth of the bytes, costs 3.5 dB on
    the average, and much more where the picture has fine colours.

    Args:
        name: ``jpeg``, or ``raw`` for the pixels themselves.
        quality: Of JPEG, 1 to 100.
    """

    def __init__(self, name: Encoding, quality: int) -> None:
        if name not in ("jpeg", "raw"):
            raise ValueError(f"encoding={name!r} must be 'jpeg' or 'raw'")
        if not 1 <= quality <= 100:
            raise ValueError(f"quality={quality} must be 1 to 100, JPEG's range")
        self.name = name
        self.quality = quality

    def recipe(self) -> dict[str, Any]:
        """Return what the bytes depend on."""
        if self.name == "raw":
            return {"encoding": "raw"}
        return {"encoding": "jpeg", "quality": self.quality, "chroma": "444"}

    def encode(self, clip: Clip) -> list[memoryview]:
        """Return the parts of the payload, one after the other; pixels are not copied.

        Raises:
            ValueError: The frames have not one size, or a value is no plain data.
        """
        _check_frames(clip.frames)
        if self.name == "raw":
            parts = [memoryview(np.ascontiguousarray(frame)).cast("B") for frame in clip.frames]
        else:
            parts = [memoryview(self._to_jpeg(frame)) for frame in clip.frames]
        content = {
            "shape": [len(clip.frames), *clip.frames[0].shape],
            "sizes": [len(part) for part in parts],
            "values": {k: pack_value(v, f"results[{k!r}]") for k, v in clip.values.items()},
            "removed": clip.removed,
        }
        text = json.dumps(content).encode()
        return [memoryview(_HEADER.pack(len(text)) + text), *parts]

    def decode(self, payload: Frame) -> Clip:
        """Return the clip; raw frames are parts of the payload itself."""
        (length,) = _HEADER.unpack_from(payload)
        start = _HEADER.size + length
        content = json.loads(payload[_HEADER.size : start].tobytes())
        if self.name == "raw":
            frames = list(payload[start:].reshape(content["shape"]))
        else:
            ends = np.cumsum([start, *content["sizes"]]).tolist()
            frames = [_from_jpeg(payload[begin:end]) for begin, end in pairwise(ends)]
        values = {key: unpack_value(value) for key, value in content["values"].items()}
        return Clip(frames, values, content["removed"])

    def as_read(self, clip: Clip, parts: Sequence[memoryview]) -> Clip:
        """Return a clip that was just encoded as it will be read, so that both are the same."""
        if self.name == "raw":
            return clip
        frames = [_from_jpeg(np.frombuffer(part, dtype=np.uint8)) for part in parts[1:]]
        return clip._replace(frames=frames)

    def _to_jpeg(self, frame: Frame) -> Frame:
        options = [
            *(cv2.IMWRITE_JPEG_QUALITY, self.quality),
            *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
        ]
        _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
        return data


def _from_jpeg(data: Frame) -> Frame:
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)


def _check_frames(frames: Any) -> None:
    if not isinstance(frames, list) or not frames:
        raise ValueError(
            f"results['imgs'] is {type(frames).__name__} where CachedClip needs a list of frames: "
            "its steps end with decoding and resizing; FormatShape and PackActionInputs come later"
        )
    first = frames[0]
    for index, frame in enumerate(frames):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(
                f"results['imgs'][{index}] is {frame.dtype} of shape {frame.shape}; CachedClip "
                "keeps uint8 [height width 3]: leave normalisation to the steps behind it"
            )
        if frame.shape != first.shape:
            raise ValueError(
                f"results['imgs'][{index}] has shape {frame.shape} and the first {first.shape}; "
                "CachedClip keeps frames of one size: add a Resize to its steps"
            )
