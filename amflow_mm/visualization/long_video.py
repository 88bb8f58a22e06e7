"""Videos of any length, written from pieces of which one at a time is in memory."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
from jaxtyping import UInt8

from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.datasets.video_writer import write_video


def write_long_video(
    path: str | os.PathLike[str],
    pieces: Iterable[UInt8[np.ndarray, "_ height width 3"]],
    fps: int | float,
) -> None:
    """Write a video from consecutive pieces.

    Each piece becomes a video of its own, and their packets are joined as they are, so that
    nothing is encoded twice.

    Args:
        path: Of the mp4 file; missing parent folders are made.
        pieces: RGB frames; height and width even.
        fps: Frames per second.

    Raises:
        ValueError: There is no piece, or a piece cannot be encoded.
    """
    with TemporaryDirectory() as folder:
        parts = []
        for index, frames in enumerate(pieces):
            parts.append(Path(folder) / f"{index}.mp4")
            write_video(parts[-1], frames, fps)
        if not parts:
            raise ValueError("pieces is empty; a video needs at least one frame")
        with atomic_path(path) as whole:
            _join(parts, whole)


def _join(parts: Sequence[Path], whole: Path) -> None:
    """Copy the packets of the parts into one file, one part after the other."""
    with av.open(os.fspath(whole), mode="w", format="mp4") as target:
        joined = None
        start = 0
        for part in parts:
            with av.open(os.fspath(part)) as source:
                stream = source.streams.video[0]
                joined = joined or target.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is None:  # the end of the part, not a packet of it
                        continue
                    packet.pts += start
                    packet.dts += start
                    packet.stream = joined
                    target.mux(packet)
                start += stream.duration
