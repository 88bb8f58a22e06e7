"""The built wheel, installed away from the checkout, imports and brings its configs and tools."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from amflow_mm import __version__, resources

ROOT = Path(__file__).parents[1]
SOURCES = ("amflow_mm", "configs", "tools", "requirements")

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    finished = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout[-2000:] + finished.stderr[-2000:]
    return finished.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Build the wheel from a copy, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    pip = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation")
    run(*pip, "--no-index", "-w", folder, source, cwd=folder)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """Install the wheel into an environment that borrows our dependencies, but not our checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps")
    run(*pip, "--no-index", wheel, cwd=folder)
    # After the installation, or pip would find the checkout's distribution and remove it. A path
    # named in a .pth file is searched, but .pth files in there, the checkout's link, are not read.
    site_packages = next(folder.glob("lib/python*/site-packages"))
    (site_packages / "borrowed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python


def test_wheel_holds_every_source_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for top, inside in (("amflow_mm", ""), ("configs", "amflow_mm/"), ("tools", "amflow_mm/")):
        files = [p for p in (ROOT / top).rglob("*") if p.suffix in {".py", ".sh", ".md"}]
        assert {inside + p.relative_to(ROOT).as_posix() for p in files} <= names
    assert "amflow_mm/py.typed" in names
    assert {name.partition("/")[0] for name in names} == {
        "amflow_mm",
        f"amflow_mm-{__version__}.dist-info",
    }


def test_metadata_name_what_is_needed(wheel):
    metadata = zipfile.ZipFile(wheel).read(f"amflow_mm-{__version__}.dist-info/METADATA").decode()
    assert f"\nVersion: {__version__}\n" in metadata
    assert re.search(r"^Requires-Python: (>=3.10,<3.13|<3.13,>=3.10)$", metadata, re.MULTILINE)
    assert "\nRequires-Dist: mmaction2==1.2.0\n" in metadata
    assert "\nRequires-Dist: mmcv" not in metadata  # mmcv and mmcv-lite share a folder
    assert "#" not in metadata.partition("\n\n")[0]  # no comment became part of a requirement


def test_installed_wheel_imports_and_its_configs_parse(python, tmp_path):
    script = """
import json, pathlib, warnings
warnings.simplefilter("ignore")
import amflow_mm
from amflow_mm import resources
from amflow_mm.engine.config_check import check_config
from mmengine.config import Config
configs = sorted(resources.configs_dir().glob("*.py"))
for path in configs:
    check_config(Config.fromfile(path))
print(json.dumps({
    "package": amflow_mm.__file__,
    "configs": [str(path) for path in configs],
    "tools": str(resources.tools_dir()),
}))
"""
    found = json.loads(run(python, "-c", script, cwd=tmp_path).splitlines()[-1])
    environment = python.parents[1]
    for path in (found["package"], found["tools"], *found["configs"]):
        assert Path(path).is_relative_to(environment)
    assert len(found["configs"]) == len(list((ROOT / "configs").glob("*.py"))) > 0


def test_installed_tool_runs(python, tmp_path):
    printed = run(python, "-m", "amflow_mm.tools.train", "--help", cwd=tmp_path)
    assert "--work-dir" in printed


def test_resources_of_the_checkout():
    assert resources.configs_dir() == ROOT / "configs"
    assert resources.tools_dir() == ROOT / "tools"


def test_incomplete_installation_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "amflow_mm")
    with pytest.raises(FileNotFoundError, match=r"no folder 'configs'.*install amflow_mm from a w"):
        resources.configs_dir()
