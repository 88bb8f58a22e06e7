import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "misc" / "fuzz_decoding.py"

pytestmark = pytest.mark.slow


def run(*arguments):
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_forty_damaged_files(tmp_path):
    finished = run("--backends", "pyav", "--files", 40, "--out-dir", tmp_path / "fuzz")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    table = dict(line.rsplit(maxsplit=1) for line in finished.stdout.splitlines()[1:])
    assert sum(map(int, table.values())) == 40
    assert int(table["read"]) > 0
    assert int(table["corrupt"]) > 0


def test_unknown_backends(tmp_path):
    finished = run("--backends", "ffmpeg", "--out-dir", tmp_path)
    assert finished.returncode == 2
    assert "invalid choice: 'ffmpeg'" in finished.stderr
