"""Lists of tiny videos of which some are broken, and a reader that notes what it opens.

Configs import this module by name.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
from mmcv.transforms import BaseTransform

import amflow_mm.datasets.video_list_dataset
import amflow_mm.engine.metrics  # noqa: F401
from amflow_mm.datasets.decoding.errors import unreadable
from amflow_mm.datasets.video_writer import write_video
from amflow_mm.registry import TRANSFORMS

NUM_FRAMES = 4
STEP = 16
"""Grey levels from the video of one number to the next."""


@TRANSFORMS.register_module()
class OpenVideo(BaseTransform):
    """Read a video whole and add its path to a log; draws a number before, as samplers do.

    Args:
        log: File; all processes append to it.
    """

    def __init__(self, log: str) -> None:
        self.log = log

    def transform(self, results: dict) -> dict:
        path = results["filename"]
        with open(self.log, "a") as log:
            log.write(f"{path}\n")
        results["draw"] = np.random.rand()
        try:
            with av.open(path) as container:
                frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        except av.error.FileNotFoundError:
            raise unreadable(path, "missing", "there is no such file") from None
        except (av.error.FFmpegError, IndexError) as error:
            raise unreadable(path, "corrupt", "it is cut off in the middle") from error
        clip = np.stack(frames).transpose(3, 0, 1, 2)[None]  # 1 3 T height width
        results["imgs"] = clip.astype(np.float32) / 255
        return results


def write_list(folder: Path, labels: Mapping[str, int], name: str = "list.txt") -> Path:
    """Write videos and their list; those whose names begin with ``bad`` are cut in the middle."""
    for number, video in enumerate(labels):
        path = folder / video
        grey = np.full((NUM_FRAMES, 16, 16, 3), STEP * (number + 1), np.uint8)
        write_video(path, grey, 8)
        if video.startswith("bad"):
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
    lines = [f"{video} {label}\n" for video, label in labels.items()]
    (folder / name).write_text("".join(lines))
    return folder / name


def dataset_config(folder: Path, name: str = "list.txt", **options: Any) -> dict[str, Any]:
    """Return the config of a data set of such a list."""
    return {
        "type": "VideoListDataset",
        "ann_file": str(folder / name),
        "data_prefix": {"video": str(folder)},
        "pipeline": [
            {"type": "OpenVideo", "log": str(folder / "opened.txt")},
            {"type": "PackActionInputs", "meta_keys": ("draw", "filename")},
        ],
        **options,
    }


def opened(folder: Path) -> Counter[str]:
    """Count how often each video was opened."""
    log = folder / "opened.txt"
    return Counter(Path(line).name for line in log.read_text().splitlines())
