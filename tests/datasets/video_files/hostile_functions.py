"""Functions that child processes are given; they must be importable there."""

import os
import signal
import sys
import time
from pathlib import Path

import cv2
import torch


class Unpicklable:
    def __reduce__(self):
        raise TypeError("cannot travel")


class FailsToArrive:
    def __reduce__(self):
        return int, ("not a number",)


class UntellableError(Exception):
    """An error that can neither be pickled nor written."""

    def __init__(self, one, two):
        super().__init__(Unpicklable())

    def __str__(self):
        raise RuntimeError("no text")


def square(number):
    return number * number


def process_id(item):
    return os.getpid()


def count_threads(item):
    return torch.get_num_threads(), cv2.getNumThreads(), os.environ["OMP_NUM_THREADS"]


def misbehave(item):
    """Do what the item says; numbers come back as they are."""
    if item == "exit":
        os._exit(3)
    if item == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if item == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "hang":
        time.sleep(600)
    if item == "sys.exit":
        sys.exit(4)
    if item == "raise":
        raise ValueError("two\nlines")
    if item == "untellable":
        raise UntellableError(1, 2)
    if item == "unpicklable":
        return Unpicklable()
    if item == "fails to arrive":
        return FailsToArrive()
    return item


def mark_and_clean(folder):
    """Say who is at work, hang, and clean up when asked to go."""
    mark = Path(folder) / f"{os.getpid()}.part"
    mark.touch()
    try:
        time.sleep(600)
    finally:
        mark.unlink()


def ignore_terminate(folder):
    """Hang like C code that never returns to Python."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (Path(folder) / f"{os.getpid()}.pid").touch()
    time.sleep(600)
