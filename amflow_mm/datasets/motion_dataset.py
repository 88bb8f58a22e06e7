"""Motion clips on disk: H.264 videos, annotation lists, motion truth; resumable.

Layout of the output folder:

```
dataset.json                    arguments, version, counts, class names; "complete" turns true last
classes.txt                     one class name a line, line number = label
train.txt, val.txt              "videos/train/left_0000.mp4 0": path relative to the folder, label
videos/<split>/<name>.mp4       H.264, yuv420p
masks/<split>/<name>.npz        what `load_motion_truth` reads
```
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.datasets.motion_clips import MotionClip, check_options, generate_clip
from amflow_mm.datasets.motion_render import Difficulty
from amflow_mm.datasets.motion_scene import MOTION_CLASSES, CameraMode, ObjectTrack
from amflow_mm.datasets.video_writer import write_video

# Raise it with every change that alters a pixel or a number: old sets are then not reused.
GENERATOR_VERSION = 2

Progress = Callable[[int, int], None]
ClipKey = tuple[str, str, int]


@dataclass(frozen=True)
class _Spec:
    """Everything that decides the content of a data set: `make_dataset` explains the fields."""

    num_train: int
    num_val: int
    seed: int
    difficulty: Difficulty
    camera: CameraMode
    num_frames: int
    size: int
    fps: int
    version: int = field(default=GENERATOR_VERSION, init=False)

    def __post_init__(self) -> None:
        """Refuse what no clip could be made from, before anything is written."""
        for name in ("num_train", "num_val"):
            count = getattr(self, name)
            if count <= 0 or count % len(MOTION_CLASSES):
                raise ValueError(
                    f"{name}={count} must be a positive multiple of {len(MOTION_CLASSES)}: "
                    "each class gets the same number of clips"
                )
        if self.fps <= 0:
            raise ValueError(f"fps={self.fps} must be > 0: a video needs a frame rate")
        check_options(
            seed=self.seed,
            difficulty=self.difficulty,
            camera=self.camera,
            num_frames=self.num_frames,
            size=self.size,
        )

    def clips(self, split: str) -> Iterator[ClipKey]:
        """Name the clips of a split, classes interleaved."""
        for index in range(self.counts[split] // len(MOTION_CLASSES)):
            for class_name in MOTION_CLASSES:
                yield class_name, split, index

    @property
    def counts(self) -> dict[str, int]:
        """Number of clips by split."""
        return {"train": self.num_train, "val": self.num_val}


@dataclass(frozen=True)
class MotionTruth:
    """What is known about a clip; shapes as in `MotionClip`."""

    masks: NDArray[np.bool_]
    camera: NDArray[np.float32]
    state: ObjectTrack
    texture_ids: tuple[int, ...]


def make_dataset(
    out_dir: str | os.PathLike[str],
    *,
    num_train: int,
    num_val: int,
    seed: int = 0,
    difficulty: Difficulty = "easy",
    camera: CameraMode = "static",
    num_frames: int = 16,
    size: int = 112,
    fps: int = 16,
    num_workers: int = 2,
    progress: Progress | None = None,
) -> Path:
    """Write a data set, or what is missing of it, and return its folder.

    A folder that holds the complete set is left alone; a set that was cut off is finished; a
    folder with another set raises ValueError.

    Args:
        out_dir: the folder.
        num_train: training clips in all, a multiple of the number of classes.
        num_val: validation clips in all, likewise.
        seed: non-negative; another seed gives other clips from the same texture library.
        difficulty: `easy` or `cluttered`.
        camera: `static` or `moving`.
        num_frames: frames of each clip.
        size: height and width of the video, pixels.
        fps: frame rate written into the video, frames per second.
        num_workers: threads; the files do not depend on it.
        progress: called with (clips done, clips in all), first with what an earlier run left.
    """
    spec = _Spec(num_train, num_val, seed, difficulty, camera, num_frames, size, fps)
    if num_workers < 1:
        raise ValueError(f"num_workers={num_workers} must be >= 1: it is a number of threads")
    folder = Path(out_dir)
    _refuse_other_set(folder, spec)
    keys = [key for split in spec.counts for key in spec.clips(split)]
    pending = [key for key in keys if not _is_written(folder, key)]
    if not pending and read_description(folder).get("complete"):
        return folder
    _write_description(folder, spec, complete=False)
    done = len(keys) - len(pending)
    for written in _write_clips(folder, spec, pending, num_workers):
        if progress is not None:
            progress(done + written, len(keys))
    _write_lists(folder, spec)
    _write_description(folder, spec, complete=True)
    return folder


def read_description(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read `dataset.json`; empty where there is none."""
    path = Path(folder) / "dataset.json"
    return json.loads(path.read_text()) if path.exists() else {}


def load_motion_truth(path: str | os.PathLike[str]) -> MotionTruth:
    """Read the masks, camera and object state of one clip (`masks/<split>/<name>.npz`)."""
    with np.load(path, allow_pickle=False) as arrays:
        num_frames, height, width = arrays["shape"]
        bits = np.unpackbits(arrays["masks"], axis=-1, count=height * width)
        return MotionTruth(
            masks=bits.reshape(num_frames, height, width).astype(bool),
            camera=arrays["camera"],
            state=ObjectTrack(arrays["center"], arrays["diameter"], arrays["angle"]),
            texture_ids=tuple(arrays["texture_ids"].tolist()),
        )


def _save_motion_truth(path: Path, clip: MotionClip) -> None:
    flat = clip.masks.reshape(len(clip.masks), -1)
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            masks=np.packbits(flat, axis=-1),
            shape=np.array(clip.masks.shape, np.int64),
            camera=clip.camera,
            **asdict(clip.state),
            texture_ids=np.array(clip.texture_ids, np.int64),
        )


def _write_clips(
    folder: Path, spec: _Spec, pending: list[ClipKey], num_workers: int
) -> Iterator[int]:
    """Write clips and yield how many are written: 0 at the start, then after each."""
    yield 0
    # Threads, not processes: OpenCV, numpy and the encoder leave the interpreter's lock, so two
    # threads are 1.8 times as fast as one, and no worker has to import the package again.
    with ThreadPoolExecutor(num_workers) as pool:
        jobs = [pool.submit(_write_clip, folder, spec, key) for key in pending]
        try:
            for written, job in enumerate(as_completed(jobs), start=1):
                job.result()
                yield written
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _write_clip(folder: Path, spec: _Spec, key: ClipKey) -> None:
    clip = generate_clip(
        *key,
        seed=spec.seed,
        difficulty=spec.difficulty,
        camera=spec.camera,
        num_frames=spec.num_frames,
        size=spec.size,
    )
    video, truth = _clip_paths(folder, key)
    _save_motion_truth(truth, clip)
    write_video(video, clip.frames, spec.fps)


def _clip_paths(folder: Path, key: ClipKey) -> tuple[Path, Path]:
    class_name, split, index = key
    name = f"{class_name}_{index:04d}"
    return folder / "videos" / split / f"{name}.mp4", folder / "masks" / split / f"{name}.npz"


def _is_written(folder: Path, key: ClipKey) -> bool:
    return all(path.exists() for path in _clip_paths(folder, key))


def _refuse_other_set(folder: Path, spec: _Spec) -> None:
    found = read_description(folder).get("arguments")
    if found == asdict(spec):
        return
    if found is None:
        if (folder / "videos").exists():
            raise ValueError(
                f"out_dir={str(folder)!r} holds videos but no dataset.json, so what they show is "
                "unknown; choose another folder or remove this one"
            )
        return
    wanted = asdict(spec)
    different = ", ".join(
        f"{name}={found.get(name)!r} (asked for {wanted.get(name)!r})"
        for name in sorted({*found, *wanted})
        if found.get(name) != wanted.get(name)
    )
    raise ValueError(
        f"out_dir={str(folder)!r} holds another data set: {different}; "
        "choose another folder or remove this one"
    )


def _write_lists(folder: Path, spec: _Spec) -> None:
    _write_text(folder / "classes.txt", "".join(f"{name}\n" for name in MOTION_CLASSES))
    for split in spec.counts:
        lines = [
            f"{_clip_paths(folder, key)[0].relative_to(folder).as_posix()} "
            f"{MOTION_CLASSES.index(key[0])}\n"
            for key in spec.clips(split)
        ]
        _write_text(folder / f"{split}.txt", "".join(lines))


def _write_description(folder: Path, spec: _Spec, *, complete: bool) -> None:
    description = {
        "arguments": asdict(spec),
        "classes": {name: label for label, name in enumerate(MOTION_CLASSES)},
        "counts": spec.counts,
        "made_with": {"numpy": np.__version__, "opencv": cv2.__version__, "av": av.__version__},
        "complete": complete,
    }
    _write_text(folder / "dataset.json", json.dumps(description, indent=2) + "\n")


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")
