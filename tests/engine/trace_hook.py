"""A hook that writes down what a run drew and saw; configs import this module by name."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook

from amflow_mm.registry import HOOKS


@HOOKS.register_module()
class TraceHook(Hook):
    """Append a line for each iteration: samples, loss, learning rate, states of generators.

    The line of an iteration that a run repeats stands there twice. Where the environment variable
    ``SEND_TO_SELF`` says ``rank iteration SIGNAL ...``, that process sends itself the signals
    before that iteration; ``GROUP_SIGNAL`` goes to its process group, ``PARENT_SIGNAL`` to its
    parent, which is then waited for to hand it on.
    """

    priority = "LOW"

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        rank, iteration, *names = os.environ.get("SEND_TO_SELF", "-1 -1").split()
        if runner.rank == int(rank) and runner.iter == int(iteration):
            for name in names:
                to, _, name = name.rpartition("_")
                process = {"": os.getpid(), "GROUP": -os.getpgrp(), "PARENT": os.getppid()}[to]
                number = signal.Signals[name]
                handler = signal.getsignal(number)
                # By another process: data workers take a signal of their parent for its good-bye.
                send = ["kill", "-s", name.removeprefix("SIG"), "--", str(process)]
                subprocess.run(send, check=True, start_new_session=True)
                # The hook puts the old handler back as soon as it has heard the signal.
                while to == "PARENT" and signal.getsignal(number) == handler:
                    time.sleep(0.01)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        states = (
            random.getstate(),
            [part.tolist() if hasattr(part, "tolist") else part for part in np.random.get_state()],
            torch.get_rng_state().tolist(),
        )
        line = {
            "iter": runner.iter,
            "epoch": runner.epoch,
            "batch_idx": batch_idx,
            "samples": [s.metainfo["sample_index"] for s in data_batch["data_samples"]],
            "inputs": float(sum(clip.double().sum() for clip in data_batch["inputs"])),
            "loss": float(outputs["loss"]),
            "lr": runner.optim_wrapper.get_lr()["lr"],
            "generators": hashlib.sha256(json.dumps(states).encode()).hexdigest(),
        }
        with (Path(runner.work_dir) / f"trace_{runner.rank}.jsonl").open("a") as stream:
            stream.write(json.dumps(line) + "\n")


def read_trace(work_dir: Path, rank: int = 0) -> list[dict[str, Any]]:
    """Return the lines that a process has written."""
    text = (work_dir / f"trace_{rank}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]
