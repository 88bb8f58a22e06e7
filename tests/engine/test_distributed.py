"""The environment variables of each launcher."""

import pytest

from amflow_mm.engine.distributed import rendezvous

TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}
SLURM = {"SLURM_PROCID": "3", "SLURM_LOCALID": "1", "SLURM_NTASKS": "4"}
MPI = {
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "4",
}


@pytest.mark.parametrize(
    ("launcher", "environment"), [("pytorch", TORCHRUN), ("slurm", SLURM), ("mpi", MPI)]
)
def test_each_launcher_gives_the_same_place(launcher, environment):
    place = {"MASTER_ADDR": "node7", "MASTER_PORT": "12345"}
    assert rendezvous(launcher, environment | place) == TORCHRUN | place


def test_master_is_this_node_on_the_default_port():
    found = rendezvous("pytorch", TORCHRUN)
    assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == ("127.0.0.1", "29500")


def test_slurm_is_asked_for_its_first_node(tmp_path, monkeypatch):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(
        '#!/bin/sh\n[ "$*" = "show hostname node[3-4]" ] && printf "node3\\nnode4\\n"\n'
    )
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = rendezvous("slurm", SLURM | {"SLURM_NODELIST": "node[3-4]"})
    assert found["MASTER_ADDR"] == "node3"


def test_missing_variable_names_variable_and_remedy():
    with pytest.raises(ValueError, match=r"launcher='slurm' needs .*SLURM_PROCID.*slurm_train\.sh"):
        rendezvous("slurm", TORCHRUN)


def test_unknown_launcher_lists_the_known():
    with pytest.raises(ValueError, match="'horovod' must be one of"):
        rendezvous("horovod", TORCHRUN)
