"""Checkpoints: strict loading that names the likely cause, and resuming that never starts over."""

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from amflow_mm.datasets.storage import is_remote, local_path
from amflow_mm.engine.errors import CheckpointError, MissingFileError, UserError
from amflow_mm.engine.migration import migrate
from amflow_mm.engine.safetensors_io import SUFFIX, read_safetensors
from amflow_mm.safe_load import explain, load_data

LAST_CHECKPOINT = "last_checkpoint"
"""File in which the checkpoint hook notes the path of the newest checkpoint."""

ADVICE_CONFIG = (
    "the checkpoint belongs to another config; the one it was trained with stands beside it in "
    "its work folder"
)
ADVICE_CLASSES = "the number of classes differs; set model.cls_head.num_classes to the checkpoint's"
ADVICE_FOREIGN = "the weights do not come from this project; convert them first (tools/convert)"


@CheckpointLoader.register_scheme(prefixes="", force=True)
def load_local_checkpoint(filename: str, map_location: Any) -> Any:
    """Take the place of MMEngine's reader of files, which serves ``init_cfg`` too.

    Theirs leaves it to torch whether code in a file is run: before torch 2.6 it is.

    Raises:
        MissingFileError: There is no such file.
        UnreadableFileError: The file is damaged or holds more than data.
    """
    path = Path(local_path(filename)).expanduser()
    require_file(path, "checkpoint")
    return load_data(path, map_location=map_location or "cpu")


def require_file(
    path: str | Path, what: str, *, named_by: str | None = None, advice: str | None = None
) -> None:
    """Raise the one-line error if a local file is missing.

    Args:
        path: The file, maybe with ``file://`` in front. What is remote passes: it is for MMEngine's
            file back ends, which no check here can see.
        what: What the file is, for the message.
        named_by: Key of the config that names it.
        advice: What to do about it.
    """
    if not is_remote(path) and not Path(local_path(path)).is_file():
        source = f" ({named_by})" if named_by else ""
        raise MissingFileError(
            f"{what} {path}{source} does not exist" + (f"; {advice}" if advice else "")
        )


def read_checkpoint(path: str | Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint of any known format without running code from it.

    Raises:
        MissingFileError: There is no such file.
        CheckpointError: The file is not a checkpoint, holds more than data, or has a newer format.
    """
    require_file(path, "checkpoint")
    file = local_path(path)
    try:
        if is_remote(path):
            checkpoint = CheckpointLoader.load_checkpoint(file, map_location, logger="silent")
        elif Path(file).suffix == SUFFIX:
            checkpoint = read_safetensors(file)
        else:
            checkpoint = torch.load(file, map_location=map_location, weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # bytes that are no pickle make the unpickler stumble over anything
        reason = explain(error)
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint")
    return migrate(checkpoint, path)


def strip_wrapper(
    weights: Mapping[str, Tensor], revise_keys: Sequence[tuple[str, str]]
) -> dict[str, Tensor]:
    """Rename keys by (pattern, replacement) pairs, such as the prefix of a parallel wrapper."""
    for pattern, replacement in revise_keys:
        weights = {re.sub(pattern, replacement, key): value for key, value in weights.items()}
    return dict(weights)


def left_out_names(checkpoint: Mapping[str, Any], weights: Mapping[str, Tensor]) -> list[str]:
    """Return the frozen tensors that a checkpoint identifies without holding them."""
    frozen = checkpoint.get("frozen") or {}
    return [name for name in frozen.get("left_out", ()) if name not in weights]


def load_strictly(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    *,
    held: Collection[str] = (),
) -> None:
    """Load weights that must fit the model exactly.

    Args:
        model: Model without a parallel wrapper.
        weights: State dict.
        source: Where the weights come from, for the message.
        held: What the model holds already, so that ``weights`` may lack it.

    Raises:
        CheckpointError: Keys or shapes differ; names the first of each and the likely cause.
    """
    own = model.state_dict()
    # BatchNorm's counter appeared in torch 0.4; torch itself lets older checkpoints lack it.
    missing = [
        key
        for key in own
        if not (key in weights or key in held or key.endswith("num_batches_tracked"))
    ]
    unexpected = [key for key in weights if key not in own]
    reshaped = [k for k in weights if k in own and weights[k].shape != own[k].shape]
    if not (missing or unexpected or reshaped):
        model.load_state_dict(weights, strict=False)
        return
    findings = [
        f"{len(keys)} {kind} (first: {keys[0]})"
        for keys, kind in ((missing, "missing"), (unexpected, "unexpected"))
        if keys
    ]
    if reshaped:
        key = reshaped[0]
        findings.append(
            f"{len(reshaped)} of another shape (first: {key} is {tuple(weights[key].shape)}, "
            f"the model's is {tuple(own[key].shape)})"
        )
    if len(missing) == len(own):
        cause = ADVICE_FOREIGN
    elif not (missing or unexpected) and all("head" in key for key in reshaped):
        cause = ADVICE_CLASSES
    else:
        cause = ADVICE_CONFIG
    raise CheckpointError(f"{source} does not fit the model: {', '.join(findings)}; {cause}")


class _Noted(NamedTuple):
    """What a note leads to.

    Args:
        path: The checkpoint; None if there is none.
        progress: Iterations that it has behind it; -1 if it cannot be read.
        trouble: Why it cannot be resumed; None if it can.
    """

    path: Path | None
    progress: int
    trouble: str | None


def find_checkpoint_to_resume(work_dir: str | Path) -> Path:
    """Return the newest checkpoint of a work folder.

    It is the one that the note names, or one written since by a run that was killed before it
    could note it. The folder may have been moved: then the file is looked for beside the note.
    Where the note or its checkpoint is lost or damaged, the newest readable one takes its place,
    with a warning.

    Raises:
        MissingFileError: There is nothing to resume.
    """
    note = Path(work_dir) / LAST_CHECKPOINT
    noted = _follow(note)
    for path in _newer_checkpoints(note, noted):
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointError:
            continue  # one that can be read is looked for, and named
        if "optimizer" in checkpoint and _progress(checkpoint) > noted.progress:
            reason = noted.trouble or f"{note} names {noted.path}, which is older"
            warnings.warn(f"{reason}; resuming from {path}", stacklevel=2)
            return path
    if noted.trouble is None:
        return noted.path
    raise MissingFileError(
        f"nothing to resume in {work_dir}: {noted.trouble}, and no other checkpoint of a run is "
        "there; train without --resume, or give --resume the path of a checkpoint"
    )


def _follow(note: Path) -> _Noted:
    """Read a note and the checkpoint that it names."""
    if not note.is_file():
        return _Noted(None, -1, f"{note} does not exist")
    text = note.read_text(encoding="utf-8", errors="replace").strip()
    if not text or "\0" in text:  # as a power failure may leave a file
        return _Noted(None, -1, f"{note} is damaged")
    named = Path(text)
    try:
        path = next((p for p in (named, note.parent / named.name) if p.is_file()), None)
    except OSError:  # no file can have such a name
        return _Noted(None, -1, f"{note} is damaged")
    if path is None:
        return _Noted(None, -1, f"{note} names {named}, which does not exist")
    try:
        return _Noted(path, _progress(read_checkpoint(path)), None)
    except CheckpointError as error:
        return _Noted(path, -1, str(error))


def _newer_checkpoints(note: Path, noted: _Noted) -> list[Path]:
    """Return the checkpoints written since the note, or all if it cannot be used, newest first."""
    folder = note.parent if noted.path is None else noted.path.parent
    since = note.stat().st_mtime_ns if noted.trouble is None else 0
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*.pth")}
    newer = [path for path in written if written[path] > since]
    return sorted(newer, key=written.__getitem__, reverse=True)


def _progress(checkpoint: Mapping[str, Any]) -> int:
    """Return how many iterations a run has behind it; -1 for weights alone."""
    meta = checkpoint.get("meta")
    return meta.get("iter", -1) if isinstance(meta, Mapping) else -1


def resolve_resume(cfg: Config) -> None:
    """Pin down what ``resume=True`` resumes, and take over the seed of that run.

    MMEngine reads the seed of the checkpoint only after the data loaders were built with
    another, and trains from scratch when it finds no checkpoint.

    Raises:
        MissingFileError: There is nothing to resume.
        UserError: Another seed was asked for.
    """
    path = cfg.get("load_from") or find_checkpoint_to_resume(cfg.work_dir)
    meta = read_checkpoint(path).get("meta")
    if not isinstance(meta, dict) or "epoch" not in meta:
        raise CheckpointError(
            f"{path} holds weights but no state of a run, so it cannot be resumed; use "
            "load_from to start from its weights"
        )
    randomness = dict(cfg.get("randomness") or {})
    seed = randomness.get("seed")
    if seed is None:
        randomness["seed"] = meta.get("seed")
    elif meta.get("seed") not in (None, seed):
        raise UserError(
            f"seed={seed} differs from seed {meta['seed']} of {path}; resume without a seed, or "
            "with the same"
        )
    cfg.randomness = randomness
    cfg.load_from = str(path)
