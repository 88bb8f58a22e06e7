"""Decoded frames as upright RGB arrays."""

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8


def to_rgb(
    frame: av.VideoFrame, converter: VideoReformatter, size: tuple[int, int]
) -> UInt8[np.ndarray, "height width 3"]:
    """Convert a decoded frame.

    Args:
        frame: As decoded.
        converter: Kept from frame to frame, because setting one up costs more than a frame.
        size: Height and width of the stream; a frame that departs from them is scaled.
    """
    height, width = size
    # Not given, `threads` is the number of cores, in each of the data workers.
    rgb = converter.reformat(frame, width=width, height=height, format="rgb24", threads=1)
    return turn_upright(rgb.to_ndarray(), quarter_turns(frame.rotation))


def quarter_turns(rotation: float) -> int:
    """Return the quarter turns, counter-clockwise, that are nearest to a rotation in degrees."""
    return round(rotation / 90) % 4


def turn_upright(
    image: UInt8[np.ndarray, "rows columns 3"], turns: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Apply the rotation that telephones store as metadata.

    Args:
        image: As stored.
        turns: Quarter turns counter-clockwise.
    """
    return np.rot90(image, k=turns) if turns else image
