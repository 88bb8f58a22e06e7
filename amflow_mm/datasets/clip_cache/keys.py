"""Under which key a clip is kept: change the video, the steps or the encoding and it is another."""

import hashlib
import inspect
import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from amflow_mm.datasets.clip_cache.sources import find_source
from amflow_mm.datasets.clip_cache.values import pack_value
from amflow_mm.registry import TRANSFORMS

Digest = tuple[int, int]
"""128 bits as two numbers."""

FORMAT_VERSION = 1
"""Of payloads and keys; clips of other versions are never found."""

SOURCES = ("filename", "frame_dir")
"""Keys under which data sets name the video; MMAction2's for videos and for folders of frames."""

_NOT_OF_THE_CLIP = frozenset({"label", "sample_idx", "num_classes"})
"""Annotations on which no frame depends: splits that number classes otherwise share the clips."""

_NOT_OF_THE_FRAMES = frozenset({"num_threads", "timeout"})
"""Arguments of steps that change how long they take, and nothing else."""


class Recipe(NamedTuple):
    """How clips are made: 64 bits that identify it, and a text for those who look at the folder."""

    number: int
    text: str


class ClipKey(NamedTuple):
    """Key of a clip, and a seed for its random steps.

    The seed depends on the file's name and size and on the draw alone, so that the same draws are
    made of a copy of the data elsewhere.
    """

    digest: Digest
    seed: int


def make_recipe(steps: Sequence[Mapping[str, Any]], encoding: Mapping[str, Any]) -> Recipe:
    """Return the recipe of steps, given as configs, and an encoding.

    Raises:
        ValueError: An argument is no plain data, so that nobody can tell whether it has changed.
    """
    content = {"version": FORMAT_VERSION, "steps": [_plain_step(s) for s in steps], **encoding}
    return Recipe(_digest(content)[0], json.dumps(content, indent=1))


def make_key(results: Mapping[str, Any], recipe: Recipe, draw: int) -> ClipKey:
    """Return the key of a clip.

    Args:
        results: What the data set says of the video: its path, and for instance the frames at which
            a clip starts and ends.
        recipe: How it is made.
        draw: Number of the random draw.

    Raises:
        ValueError: No key names the video, or an annotation is no plain data.
        StorageError: The size of a video elsewhere cannot be asked for.
    """
    name = next((name for name in SOURCES if name in results), None)
    if name is None:
        raise ValueError(
            f"results has none of the keys {', '.join(SOURCES)}: CachedClip needs to know the "
            "source of a clip; put it first in the pipeline of a data set of files"
        )
    source = find_source(os.fspath(results[name]))
    rest = {
        key: pack_value(value, f"results[{key!r}]")
        for key, value in sorted(results.items())
        if key != name and key not in _NOT_OF_THE_CLIP
    }
    base = os.path.basename(source.name.rstrip("/"))
    seed = _digest([base, source.facts[0], draw])[0] >> 1
    digest = _digest([recipe.number, source.name, source.facts, rest, draw])
    return ClipKey(digest, seed)


def _plain_step(step: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {key: value for key, value in step.items() if key != "type"}
    cls = step["type"] if callable(step["type"]) else TRANSFORMS.get(step["type"])
    # Arguments that are left out count with their defaults: so a default that changes with a new
    # version of a library makes another recipe.
    bound = inspect.signature(cls).bind_partial(**arguments)
    bound.apply_defaults()
    plain = {"type": f"{cls.__module__}.{cls.__qualname__}"}
    for key, value in sorted(bound.arguments.items()):
        if key not in _NOT_OF_THE_FRAMES:
            plain[key] = _plain(value, f"{cls.__name__}({key}=...)")
    return plain


def _plain(value: Any, where: str) -> Any:
    if isinstance(value, Mapping) and "type" in value:
        return _plain_step(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, where) for key, item in sorted(value.items())}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [_plain(item, where) for item in items]
    if isinstance(value, Path):
        return os.fspath(value)
    if isinstance(value, Callable):
        return f"{value.__module__}.{value.__qualname__}"
    return pack_value(value, where)


def _digest(value: Any) -> Digest:
    text = json.dumps(value, sort_keys=True)
    return struct.unpack("<QQ", hashlib.blake2b(text.encode(), digest_size=16).digest())
