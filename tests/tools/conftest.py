import runpy
import sys

import pytest


@pytest.fixture
def call_tool(monkeypatch, capsys):
    """Run a tool in this process; returns its exit code, output and errors."""

    def call(tool, *arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(tool), *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(tool), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call
