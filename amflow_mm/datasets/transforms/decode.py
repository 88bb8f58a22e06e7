"""Steps of a pipeline that open a video and decode the frames that were sampled."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from amflow_mm.datasets.decoding import BackendName, open_video
from amflow_mm.datasets.decoding.opening import check_options
from amflow_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class VideoInit(BaseTransform):
    """Open a video, in place of MMAction2's ``DecordInit`` and its likes.

    MMAction2 has one pair of steps for each decoder; they number frames differently, end the run
    on a damaged file, and some never return from one. Here the decoder is an argument, frame i is
    the i-th that is shown, and a file that cannot be read within its time raises
    ``UnreadableVideoError``.

    Required keys: ``filename``, a path, a URL, or a folder of images.
    Added keys: ``video_reader``, ``total_frames``, ``avg_fps``.

    Args:
        backend: Decoder; see ``amflow_mm.datasets.decoding.open_video``.
        num_threads: Of the decoder; several data workers need no more than one each.
        timeout: Seconds that may be spent on a video, opening and decoding together.
    """

    def __init__(
        self, backend: BackendName = "auto", num_threads: int = 1, timeout: float = 60.0
    ) -> None:
        """Check the options."""
        check_options(backend, num_threads, timeout)
        self.backend = backend
        self.num_threads = num_threads
        self.timeout = timeout

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Open the video and tell its length."""
        reader = open_video(
            results["filename"],
            backend=self.backend,
            num_threads=self.num_threads,
            timeout=self.timeout,
        )
        results["video_reader"] = reader
        results["total_frames"] = reader.num_frames
        results["avg_fps"] = reader.fps
        return results

    def __repr__(self) -> str:
        """Show the options."""
        return (
            f"{type(self).__name__}(backend={self.backend!r}, num_threads={self.num_threads}, "
            f"timeout={self.timeout})"
        )


@TRANSFORMS.register_module()
class VideoDecode(BaseTransform):
    """Decode the sampled frames and close the video, in place of ``DecordDecode``.

    Required keys: ``video_reader``, ``frame_inds``; ``gt_bboxes`` and ``proposals`` if there are.
    Added keys: ``imgs``, ``original_shape``, ``img_shape``.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace the reader by frames, uint8 ``[height width 3]`` each."""
        results["frame_inds"] = np.asarray(results["frame_inds"]).reshape(-1)
        with results["video_reader"] as reader:
            images = reader.read(results["frame_inds"])
        results["video_reader"] = None
        results["imgs"] = list(images)
        results["original_shape"] = results["img_shape"] = images.shape[1:3]
        _scale_boxes(results)
        return results

    def __repr__(self) -> str:
        """Show that there is nothing to set."""
        return f"{type(self).__name__}()"


def _scale_boxes(results: dict[str, Any]) -> None:
    """Bring boxes from fractions of the frame to pixels, as MMAction2's steps do."""
    height, width = results["img_shape"]
    for key in ("gt_bboxes", "proposals"):
        if results.get(key) is not None:
            scale = np.array([width, height, width, height])
            results[key] = (results[key] * scale).astype(np.float32)
