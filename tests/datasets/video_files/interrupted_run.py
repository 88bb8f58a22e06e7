"""A run over hanging items, for a test that interrupts it: `python interrupted_run.py FOLDER`."""

import signal
import sys

from amflow_mm.datasets.video_files.parallel import run_isolated
from tests.datasets.video_files.hostile_functions import mark_and_clean

if __name__ == "__main__":
    folder = sys.argv[1]
    # What is started in the background of a shell ignores Ctrl-C, and so would its tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for _ in run_isolated(
            mark_and_clean, [folder] * 2, num_processes=2, timeout=500, description="hang"
        ):
            pass
    except KeyboardInterrupt:
        sys.exit("interrupted")
