"""A folder of images as a video."""

import os
import re
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from amflow_mm.datasets.decoding.errors import unreadable
from amflow_mm.datasets.decoding.reader import VideoReader
from amflow_mm.datasets.decoding.time_limit import TimeLimit

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


class FolderReader(VideoReader):
    """Frames from images, in natural order: ``img_2.jpg`` before ``img_10.jpg``.

    Args:
        folder: Of the images; other files in it are left alone.
        timeout: Seconds that may be spent in all calls together.

    Raises:
        UnreadableVideoError: There is no image.
    """

    backend = "folder"
    fps = 0.0

    def __init__(self, folder: str | os.PathLike[str], *, timeout: float = 60.0) -> None:
        """List the images."""
        self.name = os.fspath(folder)
        self._limit = TimeLimit(timeout, self.name)
        images = (p for p in Path(folder).iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        self._images = sorted(images, key=_natural_order)
        self.num_frames = len(self._images)
        if not self.num_frames:
            raise unreadable(self.name, "no_frames", "there is not one image in the folder")

    @property
    def height(self) -> int:
        """Pixels of the first image."""
        return self._load(0).shape[0]

    @property
    def width(self) -> int:
        """Pixels of the first image."""
        return self._load(0).shape[1]

    def _read(self, frames: list[int]) -> UInt8[np.ndarray, "T height width 3"]:
        images: list[np.ndarray] = []
        with self._limit:
            for index in frames:
                self._limit.check()
                images.append(self._load(index))
                if images[-1].shape != images[0].shape:
                    raise unreadable(
                        self.name,
                        "corrupt",
                        f"{self._images[index].name} is {_size(images[-1])} pixels, "
                        f"{self._images[frames[0]].name} is {_size(images[0])}",
                    )
        return np.stack(images)

    def _load(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        content = np.fromfile(self._images[index], np.uint8)
        image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
        if image is None:
            raise unreadable(
                self.name, "corrupt", f"frame {index}, {self._images[index].name}, is damaged"
            )
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        """Nothing is kept open."""


def _size(image: UInt8[np.ndarray, "height width 3"]) -> str:
    return f"{image.shape[0]} x {image.shape[1]}"


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort numbers in names by their value."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
