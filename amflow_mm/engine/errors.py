"""Errors that the user can put right: the tools print them as one line, without a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from amflow_mm.datasets.annotation_list import AnnotationError  # noqa: F401
from amflow_mm.engine.config_check import ConfigError
from amflow_mm.errors import UserError

EXIT_CODE = 2
"""The one that argparse uses for a wrong command line."""


class MissingFileError(UserError, FileNotFoundError):
    """A file or folder that a config or a command line names does not exist."""


class CheckpointError(UserError, ValueError):
    """A checkpoint does not fit what it is loaded into, or cannot be read."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn the user's errors into one line on stderr and exit code 2.

    Only the families that are meant for users are caught. Everything else is a fault of the
    program and keeps its traceback.
    """
    try:
        yield
    except (UserError, ConfigError) as error:
        sys.stderr.write(f"error: {_own_words(error)}\n")
        sys.exit(EXIT_CODE)


def _own_words(error: Exception) -> str:
    """Return the message, of a data worker's error without the traceback that torch puts in."""
    text, name = str(error), f"{type(error).__module__}.{type(error).__qualname__}: "
    return text.rpartition(f"\n{name}")[2].rstrip() if text.startswith("Caught ") else text
