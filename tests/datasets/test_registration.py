"""Names of data sets and transforms: found when asked for, and imported no earlier."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def run(script: str) -> list[str]:
    """Run a script in a process that has imported nothing and return the words it prints."""
    command = [sys.executable, "-W", "ignore", "-c", script]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout.split()


def test_names_of_the_host_and_ours_are_found_by_the_registries_alone():
    script = """
from amflow_mm.registry import DATASETS, TRANSFORMS
for found in (DATASETS.get("VideoDataset"), DATASETS.get("FrozenFeatureDataset"),
              TRANSFORMS.get("Resize")):
    print(found.__module__.partition(".")[0])
"""
    assert run(script) == ["mmaction", "amflow_mm", "mmaction"]


def test_generating_clips_does_not_wait_for_the_data_sets_of_the_host():
    script = """
import sys
import amflow_mm.datasets.motion_dataset
print("mmaction.datasets" in sys.modules, "scipy" in sys.modules)
"""
    assert run(script) == ["False", "False"]
