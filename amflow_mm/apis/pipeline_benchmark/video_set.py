"""The videos that a benchmark reads: the user's list or generated ones, and what they are like."""

import os
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amflow_mm.datasets.decoding import probe_video
from amflow_mm.errors import UserError

DELIMITER = "\t"
"""Between path and label of the lists that are written here: paths may hold blanks."""

LABELS = re.compile(r"(\s+\d+)+$")
"""At the end of a line of a list."""


@dataclass(frozen=True)
class VideoSet:
    """Videos under one name.

    Attributes:
        name: Heads the columns of the tables, such as ``GOP 250``.
        paths: The files.
    """

    name: str
    paths: tuple[Path, ...]

    def write_list(self, path: Path) -> Path:
        """Write the annotation list, all labels 0, and return where it is."""
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [f"{video.resolve()}{DELIMITER}0\n" for video in self.paths]
        path.write_text("".join(lines), encoding="utf-8")
        return path

    def describe(self) -> dict[str, Any]:
        """Return number, bytes and rate of the videos, and what the first of them is like."""
        facts = probe_video(self.paths[0])
        sizes = [path.stat().st_size for path in self.paths]
        return {
            "videos": len(self.paths),
            "bytes": sum(sizes),
            "frames": facts.num_frames,
            "fps": facts.fps,
            "width": facts.width,
            "height": facts.height,
            "codec": facts.codec,
            "gop_size": facts.gop_size,
            "kbit_per_second": round(8e-3 * sizes[0] * facts.fps / facts.num_frames),
        }


def read_video_list(
    path: str | os.PathLike[str], *, root: str | os.PathLike[str] = "", count: int, seed: int = 0
) -> VideoSet:
    """Choose videos of an annotation list of MMAction2, the same ones for the same seed.

    Args:
        path: Of the list: a path and its labels in each line.
        root: Folder that relative paths start from.
        count: How many to choose; all of a shorter list.
        seed: Of the choice.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: there is no such annotation list")
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    names = [LABELS.sub("", line.strip()) for line in lines if line.strip()]
    if not names:
        raise UserError(f"{path}: the annotation list is empty")
    chosen = random.Random(seed).sample(names, min(count, len(names)))
    paths = tuple(Path(root, name) for name in chosen)
    missing = [str(video) for video in paths if not video.is_file()]
    if missing:
        raise UserError(
            f"{missing[0]}: listed in {path}, but there is no such file ({len(missing)} of "
            f"{len(paths)} are missing); --root names the folder that the paths start from"
        )
    return VideoSet(Path(path).stem, paths)
