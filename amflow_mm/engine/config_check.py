"""Find every misspelt key of a config before anything is built from it.

A key that no constructor takes raises a ``TypeError`` at best, one at a time and minutes into a
run; many constructors of MMAction2 swallow it, and the run is not the one that was asked for.
``check_config`` walks the config, resolves each ``type`` as the Runner will, compares the keys
beside it with the arguments of what it resolves to, and reports all that do not fit at once.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import Registry
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from amflow_mm import registry as registries
from amflow_mm.engine import config_layout as layout
from amflow_mm.engine.accepted_keys import accepted_keys

# Where names of the user's own are welcome too, an unknown name counts as misspelt only if a slip
# or two of the fingers make it of a known one. In a short name two are another word already:
# `vit_cfg` and `val_cfg`.
_MIN_LENGTH = 5
_MIN_LENGTH_OF_TWO_EDITS = 9


class ConfigError(ValueError):
    """A config names keys or types that do not exist; the message lists all of them."""


def check_config(cfg: Config | Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` listing every key and type of ``cfg`` that nothing understands.

    Builds nothing and leaves ``cfg`` as it is.
    """
    checker = _Checker()
    checker.check(cfg)
    if checker.problems:
        raise ConfigError(list_problems(checker.problems))


def list_problems(problems: Collection[str]) -> str:
    """Phrase one problem as a line of its own, several as a list under a heading."""
    if len(problems) == 1:
        return next(iter(problems))
    return "\n  ".join([f"{len(problems)} problems in the config:", *problems])


class _Checker:
    """Walks a config and collects what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def check(self, cfg: Config | Mapping[str, Any]) -> None:
        self._check_names_at_top(cfg)
        for name, (registry, default) in layout.SECTIONS.items():
            self._check_section(name, cfg.get(name), registry, default)
        for name in layout.DATALOADERS:
            self._check_dataloader(name, cfg.get(name))
        for name, keys in layout.PLAIN_SECTIONS.items():
            self._check_keys(cfg.get(name) or {}, keys, name, taker=name)
        self._check_misspelt(cfg.get("default_hooks") or {}, layout.DEFAULT_HOOKS, "default_hooks.")
        self._check_paramwise(cfg.get("optim_wrapper") or {})
        self._resolve(cfg.get("runner_type", Runner), registries.RUNNERS, "runner_type")

    def _check_names_at_top(self, cfg: Config | Mapping[str, Any]) -> None:
        """Report names that look like a section's; classes imported by a config are names too."""
        plain = dict(cfg._cfg_dict._to_lazy_dict()) if isinstance(cfg, Config) else cfg
        imported = (LazyObject, LazyAttr, type)
        names = [name for name, value in plain.items() if not isinstance(value, imported)]
        self._check_misspelt(names, layout.TOP_KEYS, "")

    def _check_section(
        self, name: str, section: Any, registry: Registry, default: str | None
    ) -> None:
        if isinstance(section, Mapping):
            if name.endswith("_evaluator") and "metrics" in section:
                registry, default = registries.EVALUATOR, "Evaluator"
            if name == "train_cfg" and section.get("by_epoch") is False:
                default = "IterBasedTrainLoop"
        self._check_value(section, registry, name, default)

    def _check_dataloader(self, name: str, section: Any) -> None:
        if not isinstance(section, Mapping):
            return
        keys = accepted_keys(DataLoader) | layout.TAKEN_FROM_DATALOADER
        self._check_keys(section, keys, name, taker="a dataloader")
        self._check_children(section, None, name)

    def _check_paramwise(self, optim_wrapper: Mapping[str, Any]) -> None:
        """Check the constructor and, if it is MMEngine's, the keys that it would pass over."""
        if not isinstance(optim_wrapper, Mapping):
            return
        constructor = self._resolve(
            optim_wrapper.get("constructor", DefaultOptimWrapperConstructor),
            registries.OPTIM_WRAPPER_CONSTRUCTORS,
            "optim_wrapper.constructor",
        )
        if constructor is DefaultOptimWrapperConstructor:
            path = "optim_wrapper.paramwise_cfg"
            section = optim_wrapper.get("paramwise_cfg") or {}
            self._check_keys(section, layout.PARAMWISE_KEYS, path, taker="paramwise_cfg")

    def _check_value(
        self, value: Any, registry: Registry | None, path: str, default: str | None = None
    ) -> None:
        """Check what is built inside ``value``: itself, its items or its arguments."""
        if isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                self._check_value(item, registry, f"{path}[{index}]", default)
        elif isinstance(value, Mapping):
            type_ = value.get("type", default)
            if type_ is not None:
                self._check_build(value, type_, registry, path)
            self._check_children(value, registry, path)

    def _check_children(
        self, value: Mapping[str, Any], registry: Registry | None, path: str
    ) -> None:
        for key, child in value.items():
            if key not in layout.OPAQUE:
                self._check_value(child, layout.ARGUMENTS.get(key, registry), f"{path}.{key}")

    def _check_build(
        self, value: Mapping[str, Any], type_: Any, registry: Registry | None, path: str
    ) -> None:
        """Compare the keys beside a ``type`` with the arguments of what it resolves to."""
        target = self._resolve(type_, registry, f"{path}.type")
        if target is None:
            return
        keys = accepted_keys(target, layout.OPEN_KEYWORDS.get(target))
        if keys is not None:
            taken = layout.TAKEN_BY_BUILDER.get(registry, frozenset())
            accepted = keys | taken | layout.TAKEN_BY_ALL_BUILDERS
            self._check_keys(value, accepted, path, taker=getattr(target, "__name__", str(target)))

    def _resolve(
        self, type_: Any, registry: Registry | None, path: str
    ) -> Callable[..., Any] | None:
        """Return what ``type`` stands for, or report that it stands for nothing."""
        if isinstance(type_, (LazyObject, LazyAttr)):
            type_ = type_.build()
        if callable(type_):
            return type_
        if not isinstance(type_, str) or registry is None:
            self.problems.append(f"{path}: {type_!r} is neither a class nor a registered name")
            return None
        target = _look_up(type_, registry)
        if target is None:
            near = suggest(type_, _registered_names(registry))
            self.problems.append(f"{path}: {type_!r} is no registered {registry.name}{near}")
        return target

    def _check_keys(
        self, section: Iterable[str], accepted: frozenset[str], path: str, taker: str
    ) -> None:
        """Report each key that is not accepted."""
        for key in section:
            if key not in accepted:
                names = sorted(accepted - layout.TAKEN_BY_ALL_BUILDERS)
                near = suggest(key, names) or f"; it takes {', '.join(names) or 'none'}"
                self.problems.append(f"{path}.{key}: {taker} takes no {key!r}{near}")

    def _check_misspelt(self, names: Iterable[str], known: frozenset[str], path: str) -> None:
        """Report each name that is not known but almost."""
        for name in names:
            if name in known or len(name) < _MIN_LENGTH:
                continue
            near = min(known, key=lambda candidate: _count_edits(name, candidate))
            max_edits = 2 if len(name) >= _MIN_LENGTH_OF_TWO_EDITS else 1
            if _count_edits(name, near) <= max_edits:
                self.problems.append(
                    f"{path}{name}: unknown name; did you mean {near!r}? A variable of "
                    "your own needs another name"
                )


def _look_up(name: str, registry: Registry) -> Callable[..., Any] | None:
    """Find a registered name or an importable dotted one."""
    try:
        return registry.get(name)
    except RuntimeError:  # how a registry says that it has no such name
        return None


def _registered_names(registry: Registry) -> set[str]:
    """Collect the names of a registry and of its ancestors."""
    names: set[str] = set()
    ancestor: Registry | None = registry
    while ancestor is not None:
        names.update(ancestor.module_dict)
        ancestor = ancestor.parent
    return names


def suggest(name: str, known: Iterable[str]) -> str:
    """Phrase the nearest known name as a question, or nothing if none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _count_edits(first: str, second: str) -> int:
    """Count the characters to insert, delete, replace or swap between two words.

    Optimal string alignment: Levenshtein's distance where swapped neighbours count once.
    """
    rows = [list(range(len(second) + 1))]
    for i, a in enumerate(first, start=1):
        row = [i]
        for j, b in enumerate(second, start=1):
            edits = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b))
            if i > 1 and j > 1 and (a, first[i - 2]) == (second[j - 2], b):
                edits = min(edits, rows[-2][j - 2] + 1)
            row.append(edits)
        rows.append(row)
    return rows[-1][-1]
