"""Read a config file; what is wrong with the file itself is said in one line.

MMEngine reads imports of a config lazily: a misspelt one raises only where the class is needed,
as an ImportError like any fault of the program. Here they are resolved as soon as the file is
read, and only what the config itself got wrong becomes a ``ConfigError``: the syntax, a base or
one of its variables, a module or a name that does not exist.
"""

import importlib
import inspect
import pkgutil
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from mmengine.config import Config
from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.config.utils import ConfigParsingError, ImportTransformer

from amflow_mm.engine.checkpoint import require_file
from amflow_mm.engine.config_check import ConfigError, list_problems, suggest
from amflow_mm.engine.errors import UserError

_SUFFIXES = (".py", ".json", ".yaml", ".yml")


def read_config(path: str) -> Config:
    """Read a config file and resolve everything that it imports.

    Raises:
        MissingFileError: There is no such file.
        UserError: It is no config.
        ConfigError: It cannot be parsed, or imports what does not exist.
    """
    require_file(path, "config")
    if Path(path).suffix not in _SUFFIXES:
        raise UserError(f"config {path} must end in one of {', '.join(_SUFFIXES)}")
    try:
        cfg = Config.fromfile(path)
    except SyntaxError as error:
        raise ConfigError(f"{_place(error, error.lineno)}: {error.msg}") from error
    except ConfigParsingError as error:
        raise ConfigError(f"{_place(error)}: {_describe_parsing(error)}") from error
    except KeyError as error:
        if (problem := _lacking_in_base(error)) is None:
            raise
        raise ConfigError(problem) from error
    except ImportError as error:
        if (problem := _failed_import(error)) is None:
            raise
        raise ConfigError(problem) from error
    problems = [p for lazy in _lazy_values(_lazy_dict(cfg)) if (p := _problem_of(lazy))]
    if problems:
        raise ConfigError(list_problems(dict.fromkeys(problems)))
    return cfg


def _lazy_dict(cfg: Config) -> dict[str, Any]:
    """Return a config with its imports unresolved; reading a key would resolve it."""
    return cfg._to_lazy_dict(keep_imported=True)


def _lazy_values(value: Any) -> Iterator[LazyObject | LazyAttr]:
    """Yield the unresolved imports inside a value."""
    if isinstance(value, LazyObject | LazyAttr):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _lazy_values(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _lazy_values(item)


def _problem_of(lazy: LazyObject | LazyAttr) -> str | None:
    """Resolve an import as MMEngine will, and describe what of it does not exist."""
    root = lazy
    while isinstance(root, LazyAttr):
        root = root.source
    try:
        _resolve(lazy)
    except _MissingError as error:
        return f"{root.location}: {error}"
    return None


class _MissingError(Exception):
    """What a config imports does not exist."""


def _resolve(lazy: LazyObject | LazyAttr) -> Any:
    if isinstance(lazy, LazyAttr):
        return _attribute(_resolve(lazy.source), lazy.name, lazy.module)
    if not isinstance(lazy._module, str):  # import a.b, a.c
        for module in lazy._module:
            _import(module)
        return _import(lazy.module)
    module = _import(lazy._module)
    return module if lazy._imported is None else _attribute(module, lazy._imported, lazy._module)


def _attribute(owner: Any, name: str, dotted: str) -> Any:
    """Return an attribute, or the submodule of that name, as Python's own import does."""
    if hasattr(owner, name):
        return getattr(owner, name)
    if isinstance(owner, ModuleType) and name in _submodules(owner):
        return _import(f"{dotted}.{name}")
    raise _MissingError(f"{dotted} has no {name!r}{suggest(name, dir(owner))}")


def _import(dotted: str) -> ModuleType:
    """Import a module; one that is there but fails to import is a fault of the program."""
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{dotted}.".startswith(f"{error.name}."):
            raise
        raise _MissingError(_describe_missing_module(error.name)) from error


def _describe_missing_module(dotted: str) -> str:
    parent, _, name = dotted.rpartition(".")
    siblings = _submodules(importlib.import_module(parent) if parent else None)
    near = suggest(dotted, [f"{parent}.{sibling}" if parent else sibling for sibling in siblings])
    return f"there is no module {dotted!r}{near}"


def _submodules(package: ModuleType | None) -> list[str]:
    """List the modules of a package, or all that stand at the top."""
    path = None if package is None else getattr(package, "__path__", ())
    return [module.name for module in pkgutil.iter_modules(path)]


# ---------------------------------------------------------------- what MMEngine's reader raises


def _frames(error: BaseException) -> list[tuple[FrameType, int]]:
    return list(traceback.walk_tb(error.__traceback__))


def _is_reader(frame: FrameType) -> bool:
    return frame.f_code.co_filename == inspect.getfile(Config)


def _place(error: BaseException, line: int | None = None) -> str:
    """Name the file that was being read, which may be a base; errors do not tell which."""
    readers = [frame.f_locals for frame, _ in _frames(error) if _is_reader(frame)]
    file = [names["filename"] for names in readers if "filename" in names][-1]
    return file if line is None else f"{file}, line {line}"


def _describe_parsing(error: ConfigParsingError) -> str:
    text = " ".join(str(error).split())
    missing = re.match(r"(.+\.py) not found!", text)
    if missing is None:
        return text
    base = Path(missing[1])
    near = suggest(base.name, [path.name for path in base.parent.glob("*.py")])
    return f"there is no base {base}{near}"


def _lacking_in_base(error: KeyError) -> str | None:
    """Recognise `from .base import name` of a name that the base does not define."""
    visit = ImportTransformer.visit_ImportFrom.__code__
    seen = [frame.f_locals for frame, _ in _frames(error) if frame.f_code is visit]
    if not seen:
        return None
    name, module, line = error.args[0], seen[-1]["module"], seen[-1]["node"].lineno
    near = suggest(name, seen[-1]["self"].base_dict[module])
    return f"{_place(error, line)}: {module} has no {name!r}{near}"


def _failed_import(error: ImportError) -> str | None:
    """Recognise an import in the text of a config itself, where it was not read lazily."""
    frames = _frames(error)
    (reader, _), (config, line) = frames[-2:]
    name = re.match(r"cannot import name '(.+?)'", error.msg)
    if not _is_reader(reader) or error.name is None:
        return None
    try:
        module = _import(error.name)
        if name is not None:
            _attribute(module, name[1], error.name)
    except _MissingError as missing:
        return f"{config.f_code.co_filename}, line {line}: {missing}"
    return None
