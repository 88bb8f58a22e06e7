"""Checkpoints: strict loading that names the likely cause, and resuming that never starts over."""

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from amflow_mm.engine.errors import CheckpointError, MissingFileError, UserError

LAST_CHECKPOINT = "last_checkpoint"
"""File in which MMEngine's CheckpointHook writes the path of the newest checkpoint."""

ADVICE_CONFIG = (
    "the checkpoint belongs to another config; the one it was trained with stands beside it in "
    "its work folder"
)
ADVICE_CLASSES = "the number of classes differs; set model.cls_head.num_classes to the checkpoint's"
ADVICE_FOREIGN = "the weights do not come from this project; convert them first (tools/convert)"


def is_remote(path: str | Path) -> bool:
    """Tell whether a path is for MMEngine's file back ends, which no local check can see."""
    return "://" in str(path)


def require_file(
    path: str | Path, what: str, *, named_by: str | None = None, advice: str | None = None
) -> None:
    """Raise the one-line error if a local file is missing.

    Args:
        path: The file; remote addresses pass.
        what: What the file is, for the message.
        named_by: Key of the config that names it.
        advice: What to do about it.
    """
    if not is_remote(path) and not Path(path).is_file():
        source = f" ({named_by})" if named_by else ""
        raise MissingFileError(
            f"{what} {path}{source} does not exist" + (f"; {advice}" if advice else "")
        )


def read_checkpoint(path: str | Path, *, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint without running code from it.

    Raises:
        MissingFileError: There is no such file.
        CheckpointError: The file is not a checkpoint, or holds more than data.
    """
    require_file(path, "checkpoint")
    try:
        checkpoint = CheckpointLoader.load_checkpoint(str(path), map_location, logger="silent")
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} holds a {type(checkpoint).__name__}, not a checkpoint")
    return checkpoint


def strip_wrapper(
    weights: Mapping[str, Tensor], revise_keys: Sequence[tuple[str, str]]
) -> dict[str, Tensor]:
    """Rename keys by (pattern, replacement) pairs, such as the prefix of a parallel wrapper."""
    for pattern, replacement in revise_keys:
        weights = {re.sub(pattern, replacement, key): value for key, value in weights.items()}
    return dict(weights)


def load_strictly(model: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Load weights that must fit the model exactly.

    Args:
        model: Model without a parallel wrapper.
        weights: State dict.
        source: Where the weights come from, for the message.

    Raises:
        CheckpointError: Keys or shapes differ; names the first of each and the likely cause.
    """
    own = model.state_dict()
    # BatchNorm's counter appeared in torch 0.4; torch itself lets older checkpoints lack it.
    missing = [k for k in own if k not in weights and not k.endswith("num_batches_tracked")]
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


def find_checkpoint_to_resume(work_dir: str | Path) -> Path:
    """Return the newest checkpoint of a work folder.

    The folder may have been moved since: then the file is looked for beside the note.

    Raises:
        MissingFileError: There is nothing to resume.
    """
    note = Path(work_dir) / LAST_CHECKPOINT
    if not note.is_file():
        raise MissingFileError(
            f"nothing to resume in {work_dir}: it holds no {LAST_CHECKPOINT}; train without "
            "--resume, or give --resume the path of a checkpoint"
        )
    noted = Path(note.read_text(encoding="utf-8").strip())
    for candidate in (noted, note.parent / noted.name):
        if candidate.is_file():
            return candidate
    raise MissingFileError(f"nothing to resume: {note} names {noted}, which does not exist")


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
