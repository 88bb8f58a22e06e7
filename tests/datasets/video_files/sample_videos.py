"""Small videos, sound and oddly shaped, that tests make for themselves."""

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from amflow_mm.datasets.video_writer import write_video

MEDIA = Path(__file__).parents[3].parent / "shared" / "data" / "media"
"""Real odd files; tests that read them skip where they are not."""


def soft_frames(num_frames, height=48, width=64):
    """Frames that compress well and differ from each other: a bright spot on its way."""
    rows, columns = np.mgrid[:height, :width]
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for index in range(num_frames):
        centre = width * (index + 1) / (num_frames + 1)
        spot = np.exp(-((columns - centre) ** 2 + (rows - height / 3) ** 2) / 128)
        frames[index] = np.stack([60 + 150 * spot, 80 + 60 * spot, 40 + rows], axis=-1)
    return frames


MILLISECOND = Fraction(1, 1000)


def write_odd_video(
    path, frames, *, times=None, unit=MILLISECOND, aspect=None, rotation=0, pix_fmt="yuv420p"
):
    """Write a video with times of one's own, oblong pixels, a rotation or odd sizes."""
    times = [int(index / (25 * unit)) for index in range(len(frames))] if times is None else times
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "10", "threads": "1"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix_fmt
        stream.time_base = stream.codec_context.time_base = unit
        if aspect is not None:
            stream.sample_aspect_ratio = stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for frame, time in zip(frames, times, strict=True):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = time, unit
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def write_sound(path):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(8000))


def flip_bytes(path, start, stop):
    """Damage a part of a file, given as fractions of its size."""
    content = bytearray(path.read_bytes())
    for index in range(int(start * len(content)), int(stop * len(content))):
        content[index] ^= 0x5A
    path.write_bytes(content)


def cut(path, fraction):
    """Cut the end off, given the fraction of the size that stays."""
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])


def write_clips(folder, count, *, num_frames=4, name="class{label}/clip{index}.mp4", delimiter=" "):
    """Write some videos, with lines of a list for them."""
    lines = []
    for index in range(count):
        label = index % 2
        path = name.format(label=label, index=index)
        write_video(folder / path, soft_frames(num_frames), 25)
        lines.append(f"{path}{delimiter}{label}\n")
    return lines


def remux_with_index_first(path, target):
    """Move the index to the front, as files for the web have it, so that a cut one still opens."""
    with (
        av.open(str(path)) as source,
        av.open(str(target), "w", format="mp4", options={"movflags": "+faststart"}) as output,
    ):
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
