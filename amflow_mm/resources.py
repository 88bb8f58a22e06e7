"""Where configs and tools are: beside the package in a checkout, inside it in a wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def configs_dir() -> Path:
    """Return the folder of the configs that come with this installation."""
    return _find("configs")


def tools_dir() -> Path:
    """Return the folder of the command line tools that come with this installation."""
    return _find("tools")


def _find(name: str) -> Path:
    for folder in (_PACKAGE / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"no folder {name!r} in {_PACKAGE} nor beside it: the installation is incomplete; install "
        "amflow_mm from a wheel, or in editable mode from a checkout"
    )
