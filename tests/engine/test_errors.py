"""One line for the user's errors, a traceback for ours."""

import pytest

from amflow_mm.engine.config_check import ConfigError
from amflow_mm.engine.errors import (
    AnnotationError,
    CheckpointError,
    MissingFileError,
    UserError,
    one_line_errors,
)
from amflow_mm.errors import WeightsError


@pytest.mark.parametrize(
    "family",
    [UserError, MissingFileError, AnnotationError, CheckpointError, ConfigError, WeightsError],
)
def test_user_error_is_one_line_and_exit_code_2(family, capsys):
    with pytest.raises(SystemExit, match="2"), one_line_errors():
        raise family("data/x.txt is missing")
    assert capsys.readouterr().err == "error: data/x.txt is missing\n"


@pytest.mark.parametrize("error", [FileNotFoundError("x"), ValueError("x"), KeyError("x")])
def test_faults_of_the_program_pass(error):
    with pytest.raises(type(error), match="x"), one_line_errors():
        raise error
