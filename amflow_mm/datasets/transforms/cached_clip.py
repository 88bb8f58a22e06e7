"""A part of the pipeline whose frames are kept on disk."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from mmcv.transforms import BaseTransform

from amflow_mm.datasets import storage
from amflow_mm.datasets.clip_cache import (
    Clip,
    ClipEncoding,
    ClipKey,
    ClipStore,
    Encoding,
    make_key,
    make_recipe,
)
from amflow_mm.datasets.clip_cache.reader import Verify
from amflow_mm.datasets.randomness import isolated_randomness
from amflow_mm.registry import TRANSFORMS

_UNTOUCHED = ("label",)
"""Keys that are no part of a clip's key, and that its steps must therefore leave alone."""

Filled = Literal["stored", "present", "refused", "given up"]
"""What became of a clip that was to be stored; it is refused where the cache takes no more."""


class _Made(NamedTuple):
    """A clip that the steps have made, encoded."""

    clip: Clip
    parts: list[memoryview]
    is_stored: bool


@TRANSFORMS.register_module()
class CachedClip(BaseTransform):
    """Run steps once for each video and serve their frames from disk ever after.

    The steps are those up to a fixed geometry: opening, sampling, decoding, resizing. What varies
    from epoch to epoch, such as crops, flips and colours, comes behind ``CachedClip``.

    Random steps inside, such as the sampling of frames, are drawn ``num_draws`` times for each
    video, with seeds that depend on the file and the draw alone; each visit picks one of the draws
    at random. Values do not depend on what is in the cache: a first visit returns what later ones
    will, also where JPEG changes the pixels, and takes as many random numbers.

    Videos are recognised by path, size and time of change. Several data sets, processes and
    machines may share a folder. See docs/clip_cache.md.

    Args:
        steps: Configs of the steps.
        folder: Where the clips are kept; None runs the steps as if they stood in the pipeline.
        num_draws: Random draws of each video that are kept.
        encoding: ``raw`` keeps every bit; ``jpeg`` takes a tenth of the space, changes pixels a
            little, and has to be decoded at each visit.
        quality: Of JPEG, 1 to 100.
        max_gigabytes: Limit of the whole folder, in 1e9 bytes; what does not fit is decoded at
            each visit.
        verify: Compare the checksum of a clip when a process first reads it (``once``), or
            ``always``.
    """

    def __init__(
        self,
        steps: Sequence[Mapping[str, Any]],
        *,
        folder: str | None = None,
        num_draws: int = 1,
        encoding: Encoding = "raw",
        quality: int = 90,
        max_gigabytes: float | None = None,
        verify: Verify = "once",
    ) -> None:
        _check_arguments(steps, folder, num_draws, max_gigabytes, verify)
        self.steps = [TRANSFORMS.build(dict(step)) for step in steps]
        self.folder = folder
        self.num_draws = num_draws
        self.encoding = ClipEncoding(encoding, quality)
        max_bytes = None if max_gigabytes is None else int(max_gigabytes * 1e9)
        self.store = None
        if folder is not None:
            self.store = ClipStore(Path(folder), max_bytes=max_bytes, verify=verify)
            self.recipe = make_recipe(steps, self.encoding.recipe())

    @property
    def counts(self) -> dict[str, int]:
        """Hits, misses, damaged and stored clips of this process."""
        return {} if self.store is None else dict(self.store.counts)

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Return the results of the steps; None where one of them gives the sample up."""
        if self.store is None:
            return self._run_steps(results)
        draw = int(np.random.randint(self.num_draws)) if self.num_draws > 1 else 0
        key = self.key_of(results, draw)
        payload = self.store.get(key.digest)
        if payload is not None:
            return _restore(results, self.encoding.decode(payload))
        made = self._make(results, key)
        if made is None:
            return None
        return _restore(results, self.encoding.as_read(made.clip, made.parts))

    def key_of(self, results: Mapping[str, Any], draw: int) -> ClipKey:
        """Return the key of one draw of a video."""
        return make_key(results, self.recipe, draw)

    def fill(self, results: dict[str, Any], draw: int) -> tuple[Filled, int]:
        """Store one draw of a video unless it is there; returns what was done, and its bytes."""
        key = self.key_of(results, draw)
        payload = self.store.get(key.digest)
        if payload is not None:
            return "present", len(payload)
        made = self._make(results, key)
        if made is None:
            return "given up", 0
        return "stored" if made.is_stored else "refused", sum(map(len, made.parts))

    def _make(self, results: dict[str, Any], key: ClipKey) -> _Made | None:
        """Run the steps under the seed of the key and store what they make."""
        before = dict(results)
        with isolated_randomness(key.seed):
            after = self._run_steps(dict(results))
        if after is None:
            return None
        clip = _difference(before, after)
        parts = self.encoding.encode(clip)
        return _Made(clip, parts, self.store.put(key.digest, self.recipe, parts))

    def _run_steps(self, results: dict[str, Any]) -> dict[str, Any] | None:
        for step in self.steps:
            results = step(results)
            if results is None:
                return None
        return results

    def __repr__(self) -> str:
        steps = ", ".join(map(repr, self.steps))
        return f"CachedClip(steps=[{steps}], folder={self.folder!r}, num_draws={self.num_draws})"


def flat_steps(pipeline: Iterable[Mapping[str, Any]]) -> Iterator[tuple[type, Mapping[str, Any]]]:
    """Yield class and config of each step, in place of a ``CachedClip`` the steps inside it."""
    for step in pipeline:
        kind = TRANSFORMS.get(step["type"]) if isinstance(step["type"], str) else step["type"]
        if issubclass(kind, CachedClip):
            yield from flat_steps(step["steps"])
        else:
            yield kind, step


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> Clip:
    """Return what steps have made of results."""
    changed = {k: v for k, v in after.items() if k not in before or v is not before[k]}
    frames = changed.pop("imgs", None)
    removed = [key for key in before if key not in after]
    for key in _UNTOUCHED:
        if key in changed or key in removed:
            raise ValueError(
                f"a step inside CachedClip changes results[{key!r}], by which clips are not told "
                "apart; put it behind CachedClip"
            )
    return Clip(frames, changed, removed)


def _restore(results: dict[str, Any], clip: Clip) -> dict[str, Any]:
    """Do to results what the steps have done."""
    for key in clip.removed:
        results.pop(key, None)
    results.update(clip.values)
    results["imgs"] = clip.frames
    return results


def _check_arguments(
    steps: Any,
    folder: str | None,
    num_draws: int,
    max_gigabytes: float | None,
    verify: str,
) -> None:
    if not steps or not all(isinstance(step, Mapping) and "type" in step for step in steps):
        raise ValueError(
            f"steps={steps!r} must be configs of transforms, at least one: what opens, samples, "
            "decodes and resizes a video"
        )
    if num_draws < 1:
        raise ValueError(f"num_draws={num_draws} must be >= 1")
    if max_gigabytes is not None and not max_gigabytes > 0:
        raise ValueError(f"max_gigabytes={max_gigabytes} must be > 0; None sets no limit")
    if verify not in ("once", "always"):
        raise ValueError(f"verify={verify!r} must be 'once' or 'always'")
    if folder is not None and storage.is_remote(folder):
        raise ValueError(
            f"folder={folder!r} must be on a disk or a mounted file system: clips are appended to "
            "files, which object stores do not offer"
        )
    if folder is not None and os.path.exists(folder) and not os.path.isdir(folder):
        raise ValueError(f"folder={folder!r} is a file; name a folder of its own for the clips")
