"""Videos whose frames show their own number, to recognise them after any decoder."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

HEIGHT, WIDTH, BLOCK = 64, 96, 16
ROWS, COLUMNS = HEIGHT // BLOCK, WIDTH // BLOCK
NUM_BITS = ROWS * COLUMNS // 2


def numbered_frame(number: int) -> np.ndarray:
    """Draw a number as black and white blocks, then its complement, over a moving texture."""
    bits = [number >> bit & 1 for bit in range(NUM_BITS)]
    blocks = np.array(bits + [1 - bit for bit in bits]).reshape(ROWS, COLUMNS)
    picture = 60.0 + 120 * np.kron(blocks, np.ones((BLOCK, BLOCK)))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    waves = [20 * np.sin((x * (1 + c) + y + 3 * number) / 7) for c in range(3)]
    return np.clip(picture[..., None] + np.stack(waves, axis=-1), 0, 255).astype(np.uint8)


def read_number(image: np.ndarray) -> int:
    """Read the number of a decoded frame; -1 where the blocks contradict their complement."""
    grey = image[:HEIGHT, :WIDTH].astype(float).mean(axis=2)
    means = grey.reshape(ROWS, BLOCK, COLUMNS, BLOCK).mean(axis=(1, 3)).reshape(-1)
    bits = means > 120
    if (bits[:NUM_BITS] == bits[NUM_BITS:]).any():
        return -1
    return int(sum(1 << bit for bit in range(NUM_BITS) if bits[bit]))


def read_numbers(images: np.ndarray) -> list[int]:
    return [read_number(image) for image in images]


def write_numbered(
    path: Path,
    num_frames: int = 40,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    edit: Callable[[np.ndarray], np.ndarray] = lambda frame: frame,
    fps: int = 30,
    container_options: dict[str, str] | None = None,
    **settings: int,
) -> Path:
    """Encode numbered frames.

    Args:
        path: Target; its suffix chooses the container.
        num_frames: Of the video.
        codec: FFmpeg's encoder.
        options: Of the encoder.
        pix_fmt: Of the stream.
        times: When each frame is shown, in frames; one after the other by default.
        edit: Applied to each picture, to change its size.
        fps: Frames per second.
        container_options: Of the container.
        settings: Attributes of the stream, such as ``gop_size``.
    """
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options={"threads": "1", **(options or {})})
        stream.height, stream.width = edit(numbered_frame(0)).shape[:2]
        stream.pix_fmt = pix_fmt
        for name, value in settings.items():
            setattr(stream, name, value)
        for number in range(num_frames):
            picture = np.ascontiguousarray(edit(numbered_frame(number)))
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


ENCODINGS: dict[str, dict] = {
    "b_frames.mp4": {"options": {"g": "12", "bf": "3"}},
    "long_gop.mp4": {"num_frames": 90, "options": {"g": "250", "bf": "3"}},
    "pyramid.mp4": {
        "num_frames": 60,
        "options": {"g": "40", "x264-params": "bframes=8:b-pyramid=normal:b-adapt=0:ref=6"},
    },
    "open_gop.mp4": {"options": {"g": "10", "x264-params": "open-gop=1:bframes=4:b-adapt=0"}},
    "open_gop.mkv": {"options": {"g": "10", "x264-params": "open-gop=1:bframes=4:b-adapt=0"}},
    "open_gop.ts": {"options": {"g": "10", "x264-params": "open-gop=1:bframes=4:b-adapt=0"}},
    "untimed.avi": {"options": {"g": "10", "bf": "3"}},
    "no_key_frames.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12:bframes=2"}},
    "variable_rate.mp4": {"times": [i + i * i // 9 for i in range(40)]},
    "late_start.mp4": {"times": [i + 100 for i in range(40)]},
    "ten_bits.mp4": {"pix_fmt": "yuv420p10le"},
    "hevc.mp4": {
        "codec": "libx265",
        "options": {"x265-params": "keyint=12:bframes=4:log-level=none:pools=1"},
    },
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "options": {"g": "20", "lag-in-frames": "16", "auto-alt-ref": "1", "cpu-used": "5"},
    },
    "vp8.webm": {
        "codec": "libvpx",
        "options": {"g": "20", "lag-in-frames": "16", "auto-alt-ref": "1", "cpu-used": "5"},
        "bit_rate": 1_000_000,
    },
    "av1.mp4": {"codec": "libsvtav1", "options": {"g": "20", "preset": "12", "crf": "15"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}, "bit_rate": 2_000_000},
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}, "bit_rate": 2_000_000},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}, "bit_rate": 2_000_000},
    "motion_jpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}
"""Arguments of `write_numbered` for each file."""


def decode_in_a_row(path: Path) -> np.ndarray:
    """Decode all frames with PyAV's own loop: the reference, which seeks and skips nothing."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
