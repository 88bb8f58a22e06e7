"""Writing MMAction2's lists: a path, a blank, a number, one video a line.

The number is what follows the last blank, so that paths may hold blanks: class folders of Kinetics
do. What such a line cannot carry is refused by name.
"""

from collections.abc import Iterable
from pathlib import Path

from amflow_mm.datasets.atomic_file import atomic_path
from amflow_mm.datasets.preparation.plan import PreparationError


def write_list(path: Path, videos: Iterable[tuple[str, int]]) -> None:
    """Write an annotation list.

    Args:
        path: The list.
        videos: Relative paths and labels.

    Raises:
        PreparationError: A list cannot hold a path.
    """
    write_lines(path, (f"{check_path(name)} {label}" for name, label in videos))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a text file that appears under its name when it is whole."""
    write_text(path, "".join(f"{line}\n" for line in lines))


def write_text(path: Path, text: str) -> None:
    """Write a text file that appears under its name when it is whole."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_names(path: Path, names: Iterable[str]) -> None:
    """Write names as lines, or remove the file where there are none, so that none is outdated."""
    lines = sorted(name.encode("utf-8", "backslashreplace").decode() for name in names)
    if lines:
        write_lines(path, lines)
    else:
        path.unlink(missing_ok=True)


def check_path(path: str) -> str:
    """Return a path that a list can carry.

    Raises:
        PreparationError: It cannot.
    """
    if path != path.strip() or len(path.splitlines()) != 1:
        raise PreparationError(
            f"{path!r} begins or ends with a blank or holds a line break, which no list can hold; "
            "rename it"
        )
    try:
        path.encode("utf-8")
    except UnicodeEncodeError as error:
        raise PreparationError(f"{path!r} is no text in UTF-8; rename the file") from error
    return path
