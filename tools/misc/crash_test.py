"""Kill a training again and again, and check that nothing is lost that was saved.

    python tools/misc/crash_test.py configs/amflow_vits_motion.py --out work_dirs/crash_test

Trains once without interruption, then again under `kill -9`: at random moments, every other time
while a checkpoint is being written. After each kill all checkpoints must be readable and the
newest must not be older than the last save; in the end weights, optimiser and schedule must equal
those of the uninterrupted run, to the bit. A run that ends before the kills do is compared, and
the next one starts over. Take a config that trains in a minute or so, on data that are there.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import time
import traceback
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Children are forked with everything imported; asking CUDA for devices here would break theirs.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
sys.path.append(str(Path(__file__).parents[1]))  # of command_line.py

import torch
from command_line import add_config_arguments
from mmengine.hooks import Hook
from mmengine.runner import Runner

from amflow_mm.engine.checkpoint import find_checkpoint_to_resume, read_checkpoint
from amflow_mm.engine.checkpoint_io import UNFINISHED
from amflow_mm.engine.errors import MissingFileError, UserError, one_line_errors
from amflow_mm.engine.launch import (
    TrainOptions,
    build_runner,
    check_before_building,
    load_config,
    set_run,
    set_train_options,
)
from amflow_mm.engine.reproducibility import collect_run_record, write_json
from amflow_mm.progress import ProgressBar
from amflow_mm.registry import HOOKS

HEARTBEAT = "heartbeat.txt"
LIVES_PER_RUN = 6
"""How often a run is killed on the average before it is through."""
COMPARED = ("state_dict", "ema_state_dict", "optimizer", "param_schedulers")


@HOOKS.register_module()
class HeartbeatHook(Hook):
    """Note after each iteration how many are done, and after how many the last save was."""

    priority = "LOWEST"

    def before_train(self, runner: Runner) -> None:
        """Take over what the checkpoint knows."""
        self._last = runner.message_hub.runtime_info.get("last_ckpt")
        self._saved = runner.iter

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Note an iteration."""
        del batch_idx, data_batch, outputs
        self._note(runner, runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Note what was saved at the end of an epoch."""
        self._note(runner, runner.iter)

    def _note(self, runner: Runner, done: int) -> None:
        last = runner.message_hub.runtime_info.get("last_ckpt")
        if last != self._last:
            self._last, self._saved = last, done
        with (Path(runner.work_dir) / HEARTBEAT).open("a", encoding="utf-8") as stream:
            stream.write(f"{done} {self._saved}\n")


@dataclass
class Kill:
    """One kill and what it left.

    Args:
        aim: At which moment: ``training`` or ``writing``.
        seconds: After the start of the process.
        was_writing: Whether it has left an unfinished file of its own.
        trained: Iterations that were done when it came.
        saved: Iterations that were done at the last save.
        resumes_from: Iterations in the checkpoint that the next process goes on from.
    """

    aim: str
    seconds: float
    was_writing: bool
    trained: int = 0
    saved: int = 0
    resumes_from: int = 0


def start(args: argparse.Namespace, work_dir: Path) -> int:
    """Train, or go on training, in a new process; returns its id."""
    work_dir.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        log = os.open(work_dir / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(log, stream)
        train(args, work_dir)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)  # whatever this process holds belongs to its parent


def train(args: argparse.Namespace, work_dir: Path) -> None:
    """Do what tools/train.py does, with a heartbeat."""
    torch.set_num_threads(args.threads)
    cfg = load_config(args.config, args.cfg_options)
    set_run(cfg, work_dir=str(work_dir), launcher="none", local_rank=0)
    resume = "auto" if any(work_dir.glob("*.pth")) else None
    set_train_options(cfg, TrainOptions(resume=resume, seed=args.seed))
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), {"type": "HeartbeatHook"}]
    check_before_building(cfg, ["train_dataloader", "val_dataloader"])
    build_runner(cfg).train()


def poll(pid: int) -> int | None:
    """Return the exit status of a process, negative for a signal; None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def read_heartbeat(work_dir: Path) -> tuple[int, int]:
    """Return the iterations that were done and those that were saved."""
    path = work_dir / HEARTBEAT
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return tuple(map(int, lines[-1].split())) if lines else (0, 0)


def unfinished_files(work_dir: Path) -> set[str]:
    """List the files of a folder that are being written, or were when a process was killed."""
    names = os.listdir(work_dir) if work_dir.exists() else []
    return {name for name in names if name.endswith(UNFINISHED)}


def train_through(args: argparse.Namespace, work_dir: Path) -> tuple[float, float]:
    """Train to the end; returns the seconds before the first iteration and in all."""
    began, started = time.monotonic(), 0.0
    pid = start(args, work_dir)
    while (status := poll(pid)) is None:
        if not started and read_heartbeat(work_dir) != (0, 0):
            started = time.monotonic() - began
        time.sleep(0.01)
    require_success(status, work_dir)
    return started, time.monotonic() - began


def require_success(status: int, work_dir: Path) -> None:
    """Raise if a training has not come to its end."""
    if status:
        raise UserError(f"the training ended with status {status}; see {work_dir}/output.txt")


def live_and_die(args: argparse.Namespace, work_dir: Path, aim: str, seconds: float) -> Kill | None:
    """Train and kill the process; returns None if the run came to its end before.

    The moment is so many seconds after the start, or, with the aim ``writing``, the next write.
    """
    began, left = time.monotonic(), unfinished_files(work_dir)
    pid = start(args, work_dir)
    while (status := poll(pid)) is None:
        is_time = time.monotonic() - began > seconds
        if is_time and (aim == "training" or unfinished_files(work_dir) - left):
            time.sleep(random.choice((0, random.uniform(0, 0.005))))
            os.kill(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            break
        time.sleep(0.0002)
    if status == -signal.SIGKILL:
        was_writing = bool(unfinished_files(work_dir) - left)
        return inspect(work_dir, Kill(aim, round(time.monotonic() - began, 3), was_writing))
    require_success(status, work_dir)
    return None


def inspect(work_dir: Path, kill: Kill) -> Kill:
    """Check what a kill has left, and complete the record of it.

    Raises:
        UserError: A checkpoint is damaged, or an older one than the last would be resumed.
    """
    kill.trained, kill.saved = read_heartbeat(work_dir)
    for path in work_dir.glob("*.pth"):
        read_checkpoint(path)  # raises if it is damaged
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a checkpoint that was written and not yet noted
            path = find_checkpoint_to_resume(work_dir)
        kill.resumes_from = read_checkpoint(path)["meta"]["iter"]
    except MissingFileError:
        if kill.saved:
            raise
        shutil.rmtree(work_dir)  # killed before the first save
    if kill.resumes_from < kill.saved:
        rest = f"saved after iteration {kill.saved} and would go on from {kill.resumes_from}"
        raise UserError(f"{work_dir} was {rest}")
    return kill


def find_difference(found: Any, expected: Any, where: str) -> str | None:
    """Name the first place where two states differ in a bit; None if they do not."""
    if type(found) is not type(expected):
        return where
    if isinstance(expected, torch.Tensor):
        return None if torch.equal(found, expected) else where
    if isinstance(expected, list | tuple):
        found, expected = dict(enumerate(found)), dict(enumerate(expected))
    if not isinstance(expected, dict) or found.keys() != expected.keys():
        return None if found == expected else where
    places = (find_difference(found[key], expected[key], f"{where}.{key}") for key in expected)
    return next(filter(None, places), None)


def require_same_end(found: Path, expected: Path) -> None:
    """Raise if two runs have not ended with the same checkpoint."""
    states = [read_checkpoint(find_checkpoint_to_resume(run)) for run in (found, expected)]
    compared = [{key: state.get(key) for key in COMPARED} for state in states]
    if place := find_difference(*compared, "checkpoint"):
        raise UserError(f"the run that was killed differs from the other in {place}")


def crash(args: argparse.Namespace, whole: Path, part: Path) -> tuple[list[Kill], int]:
    """Kill as often as was asked for; returns the kills and how many runs came to their end."""
    started, seconds = train_through(args, whole)
    longest = started + 2 * (seconds - started) / LIVES_PER_RUN
    bar = ProgressBar(args.kills, "kills")
    kills, num_ends = [], 0
    while len(kills) < args.kills:
        aim = ("training", "writing")[len(kills) % 2]
        kill = live_and_die(args, part, aim, random.uniform(0, longest))
        if kill is None:
            require_same_end(part, whole)
            shutil.rmtree(part)
            num_ends += 1
        else:
            kills.append(kill)
            bar.advance()
    bar.close()
    train_through(args, part)
    require_same_end(part, whole)
    return kills, num_ends + 1


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Kill a training and check what is lost.")
    add_config_arguments(parser)
    parser.add_argument("--out", default="work_dirs/crash_test", help="folder of runs and report")
    parser.add_argument("--kills", type=int, default=50, help="how often to kill")
    parser.add_argument("--seed", type=int, default=0, help="seed of moments and of the training")
    return parser.parse_args()


def main() -> None:
    """Crash, compare, write report.json."""
    args = parse_args()
    out = Path(args.out)
    args.threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a process with several cannot be forked
    random.seed(args.seed)
    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        if out.exists() and any(out.iterdir()):
            raise UserError(f"--out {out} is not empty; name another folder, or remove it")
        kills, num_ends = crash(args, out / "whole", out / "killed")
    num_writing = sum(kill.was_writing for kill in kills)
    loss = max((kill.trained - kill.resumes_from for kill in kills), default=0)
    report = collect_run_record(cfg) | {"kills": len(kills), "kills_while_writing": num_writing}
    report |= {"largest_loss": loss, "runs_equal_to_the_uninterrupted_one": num_ends}
    write_json(out / "report.json", report | {"each": [asdict(kill) for kill in kills]})
    print(
        f"{len(kills)} kills, {num_writing} of them while writing: no checkpoint lost or damaged, "
        f"at most {loss} iterations to repeat; {num_ends} runs equal to the uninterrupted one"
    )


if __name__ == "__main__":
    main()
