"""Videos kept as arrays, and the step of a pipeline that reads them as if it had decoded them."""

from pathlib import Path
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from amflow_mm.registry import TRANSFORMS

CLIP_LEN, HEIGHT, WIDTH = 4, 14, 21
NUM_FRAMES = CLIP_LEN + 2


@TRANSFORMS.register_module()
class LoadClip(BaseTransform):
    """Read frames from an array; each clip starts one frame after the clip before it.

    Args:
        num_clips: Clips a video.
    """

    def __init__(self, num_clips: int = 1) -> None:
        self.num_clips = num_clips

    def transform(self, results: dict) -> dict:
        frames = np.load(results["filename"])
        starts = range(self.num_clips)
        results["imgs"] = [frames[s + t].copy() for s in starts for t in range(CLIP_LEN)]
        results["img_shape"] = results["original_shape"] = (HEIGHT, WIDTH)
        results["clip_len"], results["num_clips"] = CLIP_LEN, self.num_clips
        return results


def write_videos(folder: Path, num: int, *, name: str = "train") -> Path:
    """Write videos and their list: label 0 is brighter on the left, 1 on the right."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(name))
    lines = []
    for index in range(num):
        frames = rng.integers(0, 100, (NUM_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
        half = slice(0, 7) if index % 2 == 0 else slice(14, 21)
        frames[:, :, half] += 150
        np.save(folder / f"{name}_{index}.npy", frames)
        lines.append(f"{name}_{index}.npy {index % 2}\n")
    path = folder / f"{name}.txt"
    path.write_text("".join(lines))
    return path


def pipeline_of(*steps: dict, num_clips: int = 1) -> list[dict]:
    return [
        {"type": "LoadClip", "num_clips": num_clips},
        *steps,
        {"type": "FormatShape", "input_format": "NCTHW"},
        {"type": "PackActionInputs"},
    ]


FLIP = {"type": "Flip", "flip_ratio": 0.5, "flip_label_map": {0: 1, 1: 0}}


def dataset_of(list_file: Path, *steps: dict, num_clips: int = 1, **options: Any) -> dict[str, Any]:
    """Config of the video dataset."""
    return {
        "type": "VideoDataset",
        "ann_file": str(list_file),
        "data_prefix": {"video": str(list_file.parent)},
        "pipeline": pipeline_of(*steps, num_clips=num_clips),
        **options,
    }
