"""Remedies for what is broken among the dependencies; each does nothing where nothing is broken.

``import amflow_mm`` applies them, hence so does every process that unpickles one of its classes,
such as a DataLoader worker. They must run before ``mmaction.models``, ``mmpretrain`` and
``torchvision`` are imported.
"""

import functools
import importlib
import importlib.util
import logging
import pickle
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

_DRN = "mmaction.models.localizers.drn.drn"
_STATISTICS = frozenset({"min", "max", "current", "mean"})


@functools.cache
def apply() -> tuple[str, ...]:
    """Apply the remedies that this environment needs and return their names.

    Calling it again changes nothing and returns the same names.
    """
    remedies = (
        _silence_lite_mmcv,  # first, since others import MMAction2 and with it mmcv
        _declare_torchvision_operators,
        _stand_in_for_missing_localizer,
        _disable_unimportable_multimodal_models,
        _allow_logged_history_in_checkpoints,
    )
    applied = tuple(remedy.__name__.removeprefix("_") for remedy in remedies if remedy())
    logging.getLogger(__name__).debug("applied: %s", ", ".join(applied) or "nothing")
    return applied


def _package_dir(name: str) -> Path | None:
    """Locate a top-level package without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _silence_lite_mmcv() -> bool:
    """Ignore the warning of mmcv-lite that it lacks an operator which nothing here needs.

    ``mmcv.cnn`` gives it at each start of each process, and the build with operators, which it
    recommends, has to be compiled for torch and CUDA.
    """
    package = _package_dir("mmcv")
    if package is None or any(package.glob("_ext.*")):  # the compiled operators
        return False
    lite_warning = "Fail to import ``MultiScaleDeformableAttention`` from ``mmcv[.]ops"
    warnings.filterwarnings("ignore", lite_warning, UserWarning)
    return True


def _stand_in_for_missing_localizer() -> bool:
    """Provide the module that MMAction2's archives forgot, so that ``mmaction.models`` imports.

    The wheel and the source archive of mmaction2 1.2.0 lack ``localizers/drn``, which
    ``localizers/__init__.py`` imports. One entry in ``sys.modules`` is enough: an import looks
    up the full name before it looks for parents.
    """
    package = _package_dir("mmaction")
    if package is None or (package / "models" / "localizers" / "drn" / "drn.py").exists():
        return False
    module = types.ModuleType(_DRN, "Stand-in for a module missing from the MMAction2 archive.")
    module.DRN = _MissingLocalizer
    sys.modules[_DRN] = module
    return True


class _MissingLocalizer:
    """What `DRN` is where the archive forgot it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            "DRN is missing from the installed mmaction2 archive; install MMAction2 from its "
            "repository to use this localizer"
        )


def _declare_torchvision_operators() -> bool:
    """Declare the operators of a torchvision whose binary does not load beside this torch.

    A torchvision built for another torch registers Python kernels for operators that its binary
    never defined, which raises RuntimeError, not ImportError, and passes every guard around an
    optional import. Declared without an implementation, the operators raise only when called.
    """
    package = _package_dir("torchvision")
    if package is None or _loads_operators(package):
        return False
    for name in ("nms", "qnms"):  # the only two that it registers kernels for unconditionally
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        torch.library.define(f"torchvision::{name}", schema)
    return True


def _loads_operators(package: Path) -> bool:
    """Tell whether torchvision's operators are there, by loading its binary as it will do."""
    for binary in (*package.glob("_C*.so"), *package.glob("_C*.pyd")):
        try:
            torch.ops.load_library(str(binary))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")


def _disable_unimportable_multimodal_models() -> bool:
    """Switch off the language models of MMAction2 and mmpretrain that new transformers break.

    Both import ``apply_chunking_to_forward`` from ``transformers.modeling_utils``, which no longer
    has that name since transformers 4.50, and the ImportError ends ``import mmaction.models``.
    """
    transformers = _package_dir("transformers")
    if transformers is None:
        return False
    modeling = transformers / "modeling_utils.py"
    if modeling.exists() and "apply_chunking_to_forward" in modeling.read_text(encoding="utf-8"):
        return False
    hosts = [name for name in ("mmaction", "mmpretrain") if _package_dir(name) is not None]
    for name in hosts:
        importlib.import_module(f"{name}.utils.dependency").WITH_MULTIMODAL = False
    return bool(hosts)


def _allow_logged_history_in_checkpoints() -> bool:
    """Let ``torch.load(weights_only=True)`` read the log history in MMEngine's checkpoints.

    Since torch 2.6 that is the default, and it refuses MMEngine's ``HistoryBuffer``, numpy
    arrays and the ``getattr`` that looks up the buffer's statistics. The list below adds exactly
    those; ``getattr`` on anything else stays refused.
    """
    if torch.torch_version.TorchVersion(torch.__version__) < (2, 6):
        return False
    from mmengine.logging.history_buffer import HistoryBuffer

    # numpy 1 has these functions in numpy.core, numpy 2 in numpy._core; a checkpoint written
    # under either is to be read under both.
    is_numpy_1 = np.lib.NumpyVersion(np.__version__) < "2.0.0"
    multiarray = np.core.multiarray if is_numpy_1 else np._core.multiarray
    functions = [
        (getattr(multiarray, name), f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name in ("_reconstruct", "scalar")
    ]
    dtypes = {type(np.dtype(code)) for code in "?bBhHiIlLqQefd"}
    getattr_stand_in = (_statistic_of_history, "builtins.getattr")
    torch.serialization.add_safe_globals(
        [HistoryBuffer, np.ndarray, np.dtype, *dtypes, *functions, getattr_stand_in]
    )
    return True


def _statistic_of_history(owner: Any, name: str) -> Any:
    """Replace ``getattr`` while a checkpoint is read: statistics of HistoryBuffer only."""
    from mmengine.logging.history_buffer import HistoryBuffer

    if owner is not HistoryBuffer or name not in _STATISTICS:
        raise pickle.UnpicklingError(
            f"a checkpoint asks for attribute {name!r} of {owner!r}; only {sorted(_STATISTICS)} "
            "of HistoryBuffer may be read from a checkpoint"
        )
    return getattr(HistoryBuffer, name)
