"""A run that is told to stop saves, exits with its own status, and goes on exactly."""

import random
import signal

import pytest

from amflow_mm.engine.hooks.preemption_hook import PREEMPTED_STATUS
from tests.engine.fork_server import fork_server
from tests.engine.resumed_runs import RARELY, assert_same_end, train, write_run
from tests.engine.tiny_experiment import train_here, write_experiment
from tests.engine.trace_hook import read_trace


@pytest.fixture(scope="module")
def server():
    with fork_server() as running:
        yield running


def test_status_is_the_documented_one():
    assert PREEMPTED_STATUS == 75


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["epochs", "iterations"])
@pytest.mark.parametrize(("num_processes", "name"), [(1, "SIGTERM"), (2, "SIGUSR1")])
def test_stopped_run_goes_on_as_if_nothing_had_happened(
    server, tmp_path, num_processes, loop, name
):
    """One process gets the signal; twice, at random iterations, in the middle of accumulations."""
    extra = RARELY + 'optim_wrapper["accumulative_counts"] = 2\n'
    config = write_run(tmp_path / "experiment", loop=loop, extra=extra)
    whole, part = tmp_path / "whole", tmp_path / "part"
    layout = {"num_processes": num_processes}
    assert set(train(server, config, whole, "--seed", "3", **layout)) == {0}
    total = len(read_trace(whole))
    draw = random.Random(f"{num_processes} {loop}")
    stops = sorted(draw.sample(range(total - 1), 2))
    arguments = ["--seed", "3"]
    for stop in stops:
        signals = {"SEND_TO_SELF": f"{num_processes - 1} {stop} {name}"}
        statuses = train(server, config, part, *arguments, variables=signals, **layout)
        output = (part / "output_0.txt").read_text()
        assert statuses == [PREEMPTED_STATUS] * num_processes, output
        assert f"after iteration {stop + 1}; " in output
        assert "exit status 75" in output
        assert (part / "last_checkpoint").read_text().endswith("preempted.pth")
        assert [len(read_trace(part, rank)) for rank in range(num_processes)] == (
            [stop + 1] * num_processes
        )
        arguments = ["--resume"]
    assert set(train(server, config, part, "--resume", **layout)) == {0}
    assert len(read_trace(part)) == total  # nothing twice
    assert_same_end(part, whole, name=f"iter_{total}.pth", num_processes=num_processes)
    assert not (part / "preempted.pth").exists()


@pytest.mark.slow
def test_second_signal_ends_at_once(server, tmp_path):
    config = write_run(tmp_path / "experiment", loop="epochs", extra=RARELY)
    signals = {"SEND_TO_SELF": "0 2 SIGTERM SIGTERM"}
    statuses = train(server, config, tmp_path / "run", "--seed", "3", variables=signals)
    assert statuses == [-signal.SIGTERM]
    assert len(read_trace(tmp_path / "run")) == 2
    assert not list((tmp_path / "run").glob("*.pth"))


@pytest.mark.slow
def test_workers_do_not_die_of_a_signal_to_the_group(server, tmp_path):
    """Slurm, timeout and terminals signal all processes of a group."""
    extra = RARELY + 'train_dataloader["num_workers"] = 2\n'
    config = write_run(tmp_path / "experiment", loop="epochs", extra=extra)
    run = tmp_path / "run"
    signals = {"SEND_TO_SELF": "0 2 GROUP_SIGTERM"}
    statuses = train(server, config, run, "--seed", "3", variables=signals)
    assert statuses == [PREEMPTED_STATUS], (run / "output_0.txt").read_text()
    assert len(read_trace(run)) == 3


def test_handlers_are_put_back(tmp_path):
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}
    experiment = write_experiment(tmp_path / "experiment")
    train_here(experiment, tmp_path / "run", {"custom_hooks": [{"type": "PreemptionHook"}]})
    assert {number: signal.getsignal(number) for number in before} == before
