"""Checkpoints for others: without the state of a run, with what one must know to use them."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from amflow_mm.engine.checkpoint import (
    left_out_names,
    load_strictly,
    read_checkpoint,
    strip_wrapper,
)
from amflow_mm.engine.checkpoint_io import write_checkpoint
from amflow_mm.engine.errors import CheckpointError, UserError
from amflow_mm.engine.frozen_identity import (
    FrozenPart,
    find_backbone,
    pretrained_source,
    unavailable,
)
from amflow_mm.engine.migration import CHECKPOINT_FORMAT, Checkpoint
from amflow_mm.engine.reproducibility import collect_versions
from amflow_mm.engine.safetensors_io import SUFFIX as SAFETENSORS
from amflow_mm.hashing import hash_file
from amflow_mm.models.weights import load_image_weights
from amflow_mm.models.weights.catalog import CATALOG
from amflow_mm.registry import MODELS

SUFFIXES = (".pth", ".pt", SAFETENSORS)
HASH_DIGITS = 8
"""Digits of the SHA-256 in a published name, as ``torch.hub`` checks them."""

OF_TRAINING = (
    "epoch", "iter", "seed", "time", "experiment_name", "amflow_mm_version", "mmengine_version",
)  # fmt: skip
"""What is kept of how a checkpoint came about; under another name, since it cannot be resumed."""

NOT_STATED = "not stated"


def strip_run_state(checkpoint: Mapping[str, Any], *, license: str | None = None) -> Checkpoint:
    """Return the weights of a checkpoint with what one must know to use them.

    Optimiser, schedule, history and the weights behind a moving average are left out.

    Args:
        checkpoint: A checkpoint as ``read_checkpoint`` returns it.
        license: Under which terms the trained weights are given away, in words.

    Raises:
        CheckpointError: It holds bare weights, so nothing tells what they are.
    """
    meta, weights = checkpoint.get("meta"), checkpoint.get("state_dict")
    if not isinstance(meta, Mapping) or not isinstance(weights, Mapping):
        raise CheckpointError(
            "the checkpoint holds weights alone and nothing that tells what they are (meta): give "
            "the one that training wrote"
        )
    frozen = checkpoint.get("frozen")
    training = {name: meta[name] for name in OF_TRAINING if name in meta}
    terms = license or (meta.get("license") or {}).get("trained weights", NOT_STATED)
    return {
        "format": CHECKPOINT_FORMAT,
        "frozen": frozen,
        "meta": {
            "cfg": meta.get("cfg"),
            "dataset_meta": meta.get("dataset_meta"),
            "training": meta.get("training", training),
            "published_with": collect_versions(),
            "license": {"trained weights": terms, "image model": _license_of(frozen)},
        },
        # Copies: a view would be written with all that it is a view of.
        "state_dict": {name: value.clone() for name, value in weights.items()},
    }


def _license_of(frozen: Mapping[str, Any] | None) -> str:
    entry = CATALOG.get(frozen["name"]) if frozen else None
    return entry.license if entry else NOT_STATED


def merge_adapters(cfg: Config, source: str | Path) -> Checkpoint:
    """Return the weights of a whole model, the frozen image model included.

    Args:
        cfg: The config that the checkpoint was trained with, whose ``pretrained`` brings what the
            checkpoint lacks.
        source: Checkpoint.

    Raises:
        UserError: The checkpoint cannot be read, does not fit, or was trained beside another
            image model.
    """
    checkpoint = read_checkpoint(source)
    init_default_scope(cfg.get("default_scope", "amflow_mm"))
    model = MODELS.build(cfg.model)
    weights = strip_wrapper(checkpoint.get("state_dict", checkpoint), [(r"^module\.", "")])
    left_out = left_out_names(checkpoint, weights)
    frozen_part = FrozenPart(model)
    if left_out:
        _provide_frozen(model, checkpoint["frozen"], f"checkpoint {source}")
        frozen_part.require(checkpoint["frozen"], left_out, f"checkpoint {source}")
    load_strictly(model, weights, f"checkpoint {source}", held=left_out)
    whole = model.state_dict()
    meta = {"cfg": cfg.pretty_text, **checkpoint.get("meta", {})}
    return {
        "format": CHECKPOINT_FORMAT,
        "frozen": frozen_part.record(whole),
        "meta": meta,
        "state_dict": whole,
    }


def _provide_frozen(model: nn.Module, recorded: Mapping[str, Any], source: str) -> None:
    pretrained = pretrained_source(model)
    if pretrained is None:
        return
    try:
        load_image_weights(find_backbone(model)[1], pretrained)
    except (OSError, ValueError) as error:
        raise unavailable(recorded, pretrained, source, error) from error


def check_output(out: str | Path) -> Path:
    """Return the path of a file to write.

    Raises:
        UserError: Its suffix is that of no format.
    """
    out = Path(out)
    if out.suffix not in SUFFIXES:
        raise UserError(f"--out {out} must end in one of {', '.join(SUFFIXES)}")
    return out


def write_published(checkpoint: Checkpoint, out: str | Path) -> Path:
    """Write a checkpoint and return its path: ``out`` with the beginning of its SHA-256.

    Raises:
        UserError: The suffix is that of no format, or the disk does not take the file.
    """
    out = check_output(out)
    unnamed = out.with_name(f".{out.stem}-{uuid.uuid4().hex}{out.suffix}")
    try:
        write_checkpoint(checkpoint, unnamed)
        digest = hash_file(unnamed)
        return unnamed.replace(out.with_stem(f"{out.stem}-{digest[:HASH_DIGITS]}"))
    finally:
        unnamed.unlink(missing_ok=True)
