"""What every backend offers: frames by number."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from jaxtyping import UInt8


class VideoReader(ABC):
    """An opened video.

    Attributes:
        backend: Name of the decoder that serves it.
        name: Path or URL of the video.
        num_frames: Frames that are there, which may be fewer than the header says.
        fps: Frames per second, the average where the rate varies; 0 where there is no telling.
    """

    backend: str
    name: str
    num_frames: int
    fps: float

    @property
    @abstractmethod
    def height(self) -> int:
        """Pixels of a frame as it is shown, that is after rotation."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Pixels of a frame as it is shown, that is after rotation."""

    @abstractmethod
    def _read(self, frames: list[int]) -> UInt8[np.ndarray, "T height width 3"]:
        """Read frames that are in order and without repeats, at least one."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; may be called again."""

    def read(self, indices: Sequence[int]) -> UInt8[np.ndarray, "T height width 3"]:
        """Read frames by number, RGB and upright.

        Args:
            indices: From 0 in the order in which frames are shown; any order, with repeats.

        Raises:
            UnreadableVideoError: One of these frames is damaged, or reading took too long.
        """
        wanted = np.asarray(indices, dtype=np.int64).reshape(-1)
        if not wanted.size:
            return np.empty((0, self.height, self.width, 3), np.uint8)
        if wanted.min() < 0 or wanted.max() >= self.num_frames:
            raise IndexError(
                f"indices={wanted.tolist()} must be between 0 and {self.num_frames - 1}: "
                f"{self.name} has {self.num_frames} frames"
            )
        frames, slots = np.unique(wanted, return_inverse=True)
        images = self._read(frames.tolist())
        return images if np.array_equal(frames, wanted) else images[slots.reshape(-1)]

    def __enter__(self) -> "VideoReader":
        """Return the reader itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()
