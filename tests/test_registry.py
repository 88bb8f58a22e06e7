"""Names resolve without an import of whoever registers them."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Every registry in a process of its own, forked once what is not ours has been imported.
LOOK_UP = """
import json, os, sys
import amflow_mm
import mmaction.datasets, mmaction.engine, mmaction.evaluation, mmaction.models
import mmaction.visualization
from amflow_mm import registry

failed = False
for name, classes in json.loads(sys.argv[1]).items():
    assert "amflow_mm.engine" not in sys.modules
    child = os.fork()
    if child == 0:
        found = [getattr(registry, name).get(cls) for cls in classes]
        names = [getattr(cls, "__name__", None) for cls in found]
        if names != classes:
            print(f"{name}: {names} for {classes}")
        os._exit(names != classes)
    failed |= os.waitpid(child, 0)[1] != 0
sys.exit(failed)
"""


def registered_classes() -> dict[str, list[str]]:
    """Read from the source which registry each class of the package is entered into."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "amflow_mm").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for decorator in getattr(node, "decorator_list", []):
                registry, _, method = ast.unparse(decorator).partition(".")
                if method.startswith("register_module("):
                    found.setdefault(registry, []).append(node.name)
    return found


def test_the_reader_of_the_source_finds_what_is_known():
    found = registered_classes()
    assert found["RUNNERS"] == ["AMFlowRunner"]
    assert {"AMFlow", "AMFlowRecognizer", "AMFlowViT"} <= set(found["MODELS"])
    assert len(found) >= 9


@pytest.mark.slow
def test_every_class_of_ours_is_found_by_name_alone():
    finished = subprocess.run(
        [sys.executable, "-c", LOOK_UP, json.dumps(registered_classes())],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
