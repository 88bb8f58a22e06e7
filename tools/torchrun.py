"""torchrun with the exit status of its processes, where they were told to stop: 75.

torchrun itself ends with 1 and a traceback whatever its processes end with. It also hands SIGUSR1
on to them, by which Slurm may announce the end of a job (`--signal=USR1@300`).
"""

import os
import signal
import sys

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import get_args_parser
from torch.distributed.run import main as run_processes

PREEMPTED_STATUS = 75  # of amflow_mm.engine.hooks.preemption_hook, which takes long to import
SIGNALS_OPTION = "--signals-to-handle"
HANDED_ON = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"


def main() -> None:
    """Run the processes that the command line asks for."""
    if SIGNALS_OPTION in get_args_parser().format_help():
        sys.argv.insert(1, f"{SIGNALS_OPTION}={HANDED_ON}")
    else:  # an older torch
        os.environ.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", HANDED_ON)
    try:
        run_processes()
    except SignalException as error:
        if error.sigval not in (signal.SIGTERM, signal.SIGUSR1):
            raise
        sys.exit(PREEMPTED_STATUS)
    except ChildFailedError as error:
        if {failure.exitcode for failure in error.failures.values()} != {PREEMPTED_STATUS}:
            raise
        sys.exit(PREEMPTED_STATUS)


if __name__ == "__main__":
    main()
