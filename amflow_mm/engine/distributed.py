"""Several processes without a GPU: MMEngine's launchers assume CUDA devices, gloo does not."""

import os
import subprocess
from collections.abc import Mapping

import torch.distributed
from mmengine.device import get_device

DEFAULT_PORT = "29500"


def runs_on_cpu() -> bool:
    """Tell whether MMEngine puts models on the CPU on this machine."""
    return get_device() == "cpu"


def rendezvous(launcher: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Translate a launcher's environment variables into torch's.

    Args:
        launcher: ``pytorch``, ``slurm`` or ``mpi``.
        environment: Variables that the launcher has set.

    Returns:
        RANK, LOCAL_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
    """
    sources = {
        "pytorch": ("RANK", "LOCAL_RANK", "WORLD_SIZE"),
        "slurm": ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS"),
        "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE"),
    }
    if launcher not in sources:
        raise ValueError(f"launcher={launcher!r} must be one of {sorted(sources)}")
    missing = [name for name in sources[launcher] if name not in environment]
    if missing:
        raise ValueError(
            f"launcher={launcher!r} needs the environment variable {missing[0]}, which its "
            "starter sets; start by tools/dist_train.sh or tools/slurm_train.sh, or use "
            "--launcher none"
        )
    rank, local_rank, world_size = (environment[name] for name in sources[launcher])
    return {
        "RANK": rank,
        "LOCAL_RANK": local_rank,
        "WORLD_SIZE": world_size,
        "MASTER_ADDR": environment.get("MASTER_ADDR") or _master_address(launcher, environment),
        "MASTER_PORT": environment.get("MASTER_PORT", DEFAULT_PORT),
    }


def _master_address(launcher: str, environment: Mapping[str, str]) -> str:
    """Name the node of rank 0, where the launcher has not."""
    if launcher != "slurm":
        return "127.0.0.1"
    command = ["scontrol", "show", "hostname", environment["SLURM_NODELIST"]]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]


def init_cpu_processes(launcher: str) -> None:
    """Join the process group over gloo; MMEngine then skips its own, which needs CUDA."""
    os.environ.update(rendezvous(launcher, os.environ))
    torch.distributed.init_process_group("gloo")
