"""A subject that reads arrays in place of videos, so that measuring takes no time."""

from pathlib import Path

from mmaction.datasets.transforms import FormatShape, PackActionInputs

from amflow_mm.apis.pipeline_benchmark.subject import Subject
from tests.datasets.array_videos import LoadClip, write_videos

NUM_VIDEOS = 3
TAIL = (dict(type=FormatShape, input_format="NCTHW"), dict(type=PackActionInputs))


def tiny_subject(folder: Path, *, name: str = "tiny", videos: str = "arrays") -> Subject:
    ann_file = write_videos(folder, NUM_VIDEOS)
    lines = [line.split() for line in ann_file.read_text().splitlines()]
    ann_file.write_text("".join(f"{folder / path}\t{label}\n" for path, label in lines))
    files = tuple(folder / path for path, _ in lines)
    load = (dict(type=LoadClip),)
    return Subject(name, videos, ann_file, files, load, load, TAIL)
