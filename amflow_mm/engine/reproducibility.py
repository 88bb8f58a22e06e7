"""What one must know to repeat a run: versions, seed, commit, command, machine, config."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

import amflow_mm

PACKAGES = ("torch", "mmengine", "mmcv-lite", "mmcv", "mmaction2", "numpy", "decord")


def collect_versions() -> dict[str, str]:
    """Return the versions of Python, of this package and of what its results depend on."""
    versions = {"python": platform.python_version(), "amflow_mm": amflow_mm.__version__}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of mmcv and mmcv-lite only one can be installed, and decord is optional
    if torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    return versions


def find_git_commit(package: Path | None = None) -> str | None:
    """Return the commit of the checkout that the package runs from, ``+`` if it was changed.

    None where the package is installed: then the version says it, and a repository somewhere
    above site-packages is somebody else's.

    Args:
        package: Folder of the package; this one by default.
    """
    root = (package or Path(amflow_mm.__file__).parent).resolve().parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
            )
        except FileNotFoundError:  # git is not installed
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    top = git("rev-parse", "--show-toplevel")
    commit = git("rev-parse", "HEAD")
    if top is None or commit is None or Path(top).resolve() != root:
        return None
    return commit + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def describe_machine() -> dict[str, Any]:
    """Return what speed and rounding depend on."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def collect_run_record(cfg: Config) -> dict[str, Any]:
    """Return the part of a record that training and testing share."""
    return {
        "config": cfg.filename,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": collect_versions(),
        "git_commit": find_git_commit(),
        "machine": describe_machine(),
    }


def write_json(path: str | Path, content: Any) -> None:
    """Write indented JSON, lists of numbers on one line each.

    A file half written by a crash never stands under the final name.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2)
    text = re.sub(r"\[([\s\d.,eE+-]+)\]", lambda row: f"[{' '.join(row[1].split())}]", text)
    temporary = path.with_suffix(f"{path.suffix}.part")
    temporary.write_text(text + "\n", encoding="utf-8")
    temporary.replace(path)
