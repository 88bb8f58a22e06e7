"""A run that is cut off after any iteration and resumed equals the whole one, to the bit."""

import math
import random

import pytest

from tests.engine.fork_server import fork_server
from tests.engine.resumed_runs import (
    EVERY_ITERATION,
    NUM_EPOCHS,
    NUM_TRAIN,
    VARIANTS,
    assert_same_end,
    cut_off,
    train,
    write_run,
)
from tests.engine.trace_hook import read_trace

BATCH_SIZE = 2


@pytest.fixture(scope="module")
def server():
    with fork_server() as running:
        yield running


def num_iterations(loop, num_processes):
    per_epoch = math.ceil(math.ceil(NUM_TRAIN / num_processes) / BATCH_SIZE)
    return 11 if loop == "iterations" else NUM_EPOCHS * per_epoch


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("loop", ["epochs", "iterations"])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_resumed_run_equals_the_whole_one(server, tmp_path, num_processes, loop, variant):
    """Weights, optimiser, schedule, average, samples, generators, losses, scores, best score."""
    config = write_run(
        tmp_path / "experiment", loop=loop, extra=EVERY_ITERATION + VARIANTS[variant]
    )
    whole, part = tmp_path / "whole", tmp_path / "part"
    statuses = train(server, config, whole, "--seed", "3", num_processes=num_processes)
    assert set(statuses) == {0}, (whole / "output_0.txt").read_text()
    total = num_iterations(loop, num_processes)
    assert len(read_trace(whole)) == total
    stop = random.Random(f"{num_processes} {loop} {variant}").randrange(1, total)
    cut_off(whole, part, checkpoint=f"iter_{stop}.pth")
    statuses = train(server, config, part, "--resume", num_processes=num_processes)
    assert set(statuses) == {0}, (part / "output_0.txt").read_text()
    assert [line["iter"] for line in read_trace(part)] == list(range(stop, total))
    assert_same_end(part, whole, name=f"iter_{total}.pth", num_processes=num_processes)
