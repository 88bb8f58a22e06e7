"""The frozen image model under the adapters: its tensors, its identity, where to have it again.

A checkpoint may leave out what is frozen only if the config brings the same tensors back. That
holds for those that ``pretrained`` has filled and nothing has changed since, which a digest tells.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from amflow_mm.engine.errors import CheckpointError
from amflow_mm.models.peft import AdapterModule

INITIALIZER = "PretrainedImageViT"
"""Registry name of the initializer that fills an image model whole, or raises."""

RANDOM = "random"
"""Name of a backbone whose weights come from no source."""

FACTS = {"family": "{}", "embed_dim": "{} wide", "depth": "{} deep", "patch_size": "patch {}"}
"""What is told of a backbone, and how, where it has it."""


def find_backbone(model: nn.Module) -> tuple[str, nn.Module]:
    """Return the prefix of the backbone's names, and the backbone; a model without is its own."""
    backbone = getattr(model, "backbone", None)
    return ("backbone.", backbone) if isinstance(backbone, nn.Module) else ("", model)


def frozen_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the entries of ``state_dict`` that belong to the frozen image model.

    These are the backbone's that are not trained, but for those inside an adapter, and for
    buffers beside a trained parameter, such as the statistics of a norm.
    """
    prefix, backbone = find_backbone(model)
    adapters = tuple(
        f"{name}." for name, m in backbone.named_modules() if name and isinstance(m, AdapterModule)
    )
    parameters = dict(backbone.named_parameters(remove_duplicate=False))
    trained = {name for name, parameter in parameters.items() if parameter.requires_grad}
    trained_modules = {name.rpartition(".")[0] for name in trained}
    frozen = {}
    for name, value in backbone.state_dict().items():
        is_beside_trained = name not in parameters and name.rpartition(".")[0] in trained_modules
        if name not in trained and not name.startswith(adapters) and not is_beside_trained:
            frozen[prefix + name] = value
    return frozen


def pretrained_source(model: nn.Module) -> str | None:
    """Return what fills the frozen image model on initialisation, None if nothing does."""
    _, backbone = find_backbone(model)
    init_cfg = getattr(backbone, "init_cfg", None)
    if isinstance(init_cfg, Mapping) and init_cfg.get("type") == INITIALIZER:
        return init_cfg["source"]
    return None


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of names, types, shapes and bytes; the order does not matter."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.flatten().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def frozen_identity(model: nn.Module) -> dict[str, Any]:
    """Return name, kind of backbone and digest of a model's frozen image model.

    Returns:
        ``name``, the source of the weights or ``"random"``; ``backbone``, its class and sizes;
        ``sha256`` of :func:`frozen_tensors`.
    """
    return FrozenPart(model).identity()


def describe(identity: Mapping[str, Any]) -> str:
    """Return an identity as a reader wants it: name, kind and the digest's first 12 characters."""
    backbone = identity["backbone"]
    facts = [backbone["type"]]
    facts += [form.format(backbone[key]) for key, form in FACTS.items() if key in backbone]
    return f"{identity['name']} ({', '.join(facts)}; sha256 {identity['sha256'][:12]})"


def unavailable(
    recorded: Mapping[str, Any], pretrained: str, source: str, reason: Exception
) -> CheckpointError:
    """Return the error for a checkpoint whose frozen image model cannot be had.

    Args:
        recorded: Identity in the checkpoint.
        pretrained: What should bring the image model.
        source: The checkpoint, for the message.
        reason: What went wrong.
    """
    return CheckpointError(
        f"{source} does not hold its frozen backbone {describe(recorded)}, and "
        f"model.backbone.pretrained={pretrained!r} cannot be had: {reason}"
    )


class FrozenPart:
    """The frozen image model inside a model, hashed again only after it was written to.

    Hashing a ViT-B takes about a second, which no save is to cost.

    Args:
        model: Model without a parallel wrapper.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._hashed: dict[str, Tensor] = {}
        self._stamp: tuple[tuple[str, int, int], ...] | None = None
        self._digest = ""
        self._digest_from_source: str | None = None
        self.is_initialized = False

    @property
    def source(self) -> str | None:
        """What fills the frozen tensors on initialisation, None if nothing does."""
        return pretrained_source(self._model)

    def note_initialized(self) -> None:
        """Remember what the tensors are right after ``init_weights``."""
        self.is_initialized = True
        if self.source is not None:
            self._digest_from_source = self._hash(frozen_tensors(self._model))

    def why_not_restorable(self) -> str | None:
        """Return why a checkpoint must hold the frozen tensors; None if it need not."""
        if self.source is None:
            return "model.backbone.pretrained names no source to restore them from"
        if self._hash(frozen_tensors(self._model)) != self._digest_from_source:
            return f"they are no longer those of model.backbone.pretrained={self.source!r}"
        return None

    def identity(self) -> dict[str, Any]:
        """Return what :func:`frozen_identity` does."""
        _, backbone = find_backbone(self._model)
        facts = {key: getattr(backbone, key) for key in FACTS if hasattr(backbone, key)}
        if hasattr(backbone, "blocks"):
            facts["depth"] = len(backbone.blocks)
        return {
            "name": self.source or RANDOM,
            "backbone": {"type": type(backbone).__name__, **facts},
            "sha256": self._hash(frozen_tensors(self._model)),
        }

    def record(self, saved: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return the identity with the names of the tensors that a checkpoint leaves out."""
        left_out = [name for name in frozen_tensors(self._model) if name not in saved]
        return {**self.identity(), "left_out": left_out}

    def require(self, recorded: Mapping[str, Any], names: Sequence[str], source: str) -> None:
        """Check that the model holds what a checkpoint left out.

        Args:
            recorded: What :meth:`record` returned when it was saved.
            names: The tensors that it lacks.
            source: What is loaded, for the message.

        Raises:
            CheckpointError: The backbone is another, or has other weights; names both.
        """
        own = self._model.state_dict()
        held = {name: own[name] for name in names if name in own}
        if len(held) < len(names) or self._hash(held) != recorded["sha256"]:
            raise CheckpointError(
                f"{source} was trained beside the frozen backbone {describe(recorded)} and does "
                f"not hold it; this model's is {describe(self.identity())}; set "
                "model.backbone.pretrained and the rest of model.backbone as in the config that "
                "stands beside the checkpoint"
            )

    def _hash(self, tensors: dict[str, Tensor]) -> str:
        # A tensor counts how often it was written to. One that was moved or replaced lies
        # elsewhere, since those that were hashed are held and keep their place in memory.
        stamp = tuple((name, t.data_ptr(), t._version) for name, t in tensors.items())
        if stamp != self._stamp:
            self._digest, self._stamp = digest_tensors(tensors), stamp
            self._hashed = tensors
        return self._digest
