"""Clips kept as arrays, steps that count how often they run, and payloads for the store."""

import os
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform

from amflow_mm.datasets.clip_cache import ClipEncoding, ClipStore, Recipe
from amflow_mm.datasets.clip_cache.payload import Clip
from amflow_mm.registry import TRANSFORMS

NUM_FRAMES, HEIGHT, WIDTH, CLIP_LEN = 11, 17, 23, 3
RECIPE = Recipe(7, '{"encoding": "raw", "steps": [{"type": "a.Load"}]}')


@TRANSFORMS.register_module()
class LoadFrames(BaseTransform):
    """Read a video from an array and note each reading beside it.

    Args:
        gain: Factor of the brightness.
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def transform(self, results: dict) -> dict:
        path = Path(results["filename"])
        with open(path.with_suffix(".visits"), "a") as stream:
            stream.write(f"{os.getpid()}\n")
        results["video"] = (np.load(path) * self.gain).astype(np.uint8)
        results["total_frames"] = len(results["video"])
        results["original_shape"] = results["img_shape"] = results["video"].shape[1:3]
        return results


@TRANSFORMS.register_module()
class TakeFrames(BaseTransform):
    """Take a few frames at random, or the first ones.

    Args:
        is_random: Whether at random.
    """

    def __init__(self, is_random: bool = True) -> None:
        self.is_random = is_random

    def transform(self, results: dict) -> dict:
        video = results.pop("video")
        picked = np.random.permutation(len(video)) if self.is_random else np.arange(len(video))
        results["frame_inds"] = np.sort(picked[:CLIP_LEN]).astype(np.int32)
        results["imgs"] = [video[i] for i in results["frame_inds"]]
        results["clip_len"], results["num_clips"] = CLIP_LEN, 1
        results["frame_interval"] = None
        return results


def write_video_arrays(folder: Path, num: int) -> list[Path]:
    """Write smooth random videos, which JPEG changes, but not much."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    paths = []
    for index in range(num):
        video = rng.integers(0, 256, (NUM_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
        np.save(folder / f"{index}.npy", video)
        paths.append(folder / f"{index}.npy")
    return paths


def num_visits(path: Path) -> int:
    """How often a video was read."""
    visits = path.with_suffix(".visits")
    return len(visits.read_text().splitlines()) if visits.exists() else 0


def steps_of(*, is_random: bool = False, gain: float = 1.0) -> list[dict]:
    return [
        {"type": "LoadFrames", "gain": gain},
        {"type": "TakeFrames", "is_random": is_random},
        {"type": "Resize", "scale": (29, 19), "keep_ratio": False},
    ]


def results_of(path: Path, **more) -> dict:
    return {"filename": str(path), "label": 1, "modality": "RGB", "start_index": 0, **more}


def key_of(number: int) -> tuple[int, int]:
    return number * 1_000_003, number


def payload_of(number: int) -> bytes:
    return np.random.default_rng(number).bytes(100 + number)


def put(store: ClipStore, number: int, payload: bytes | None = None) -> bool:
    data = payload_of(number) if payload is None else payload
    return store.put(key_of(number), RECIPE, [memoryview(data)])


def get(store: ClipStore, number: int) -> bytes | None:
    payload = store.get(key_of(number))
    return None if payload is None else payload.tobytes()


def raw_clip(seed: int = 0) -> tuple[Clip, ClipEncoding]:
    rng = np.random.default_rng(seed)
    frames = list(rng.integers(0, 256, (CLIP_LEN, HEIGHT, WIDTH, 3), dtype=np.uint8))
    return Clip(frames, {"num_clips": 1}, []), ClipEncoding("raw", 90)
