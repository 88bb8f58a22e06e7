"""Shards of small files for tests."""

import random
import uuid
from pathlib import Path

from amflow_mm.datasets import storage
from amflow_mm.datasets.shards import make_shards, plan_shards

NUM_CLASSES = 5


def make_files(folder: Path, count: int) -> Path:
    """Write files of random bytes that pass for videos, and a list of them."""
    rng = random.Random(count)
    lines = []
    for number in range(count):
        name = f"class {number % NUM_CLASSES}/{number:03d}.{('mp4', 'avi', 'WEBM')[number % 3]}"
        path = folder / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(rng.randint(1, 2000)))
        lines.append(f"{name} {number % NUM_CLASSES}")
    list_file = folder / "list.txt"
    list_file.write_text("\n".join(lines) + "\n")
    return list_file


def make_small_shards(folder: Path, count: int, out: str, *, shard_bytes: int = 20_000, seed=None):
    """Make shards of such files; returns their index."""
    list_file = make_files(folder, count)
    plan = plan_shards(
        str(list_file), videos=str(folder / "videos"), shard_bytes=shard_bytes, seed=seed
    )
    return make_shards(plan, out, num_threads=2)


def in_memory() -> str:
    """Return a folder in memory that no other test uses."""
    return f"memory://{uuid.uuid4().hex}"


class ReadBytes:
    """A step that reads what a sample's file name leads to; survives spawning."""

    def __call__(self, results):
        return {**results, "data": storage.read_bytes(results["filename"])}
