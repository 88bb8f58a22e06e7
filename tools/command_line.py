"""Arguments that several tools share.

Reading them needs Python alone: a tool that imports the package after the command line answers
``--help`` and a misspelt flag at once.
"""

import argparse
from collections.abc import Sequence
from typing import Any


class ConfigOptions(argparse.Action):
    """``KEY=VALUE`` pairs, read by MMEngine once there are some."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the pairs to those before."""
        from mmengine.config import DictAction

        read = DictAction(self.option_strings, self.dest, nargs=self.nargs)
        read(parser, namespace, values, option_string)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the config and its overrides."""
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=ConfigOptions,
        metavar="KEY=VALUE",
        help="override keys of the config, e.g. model.neck.temperature=1.0 or "
        'key="[(a,b),(c,d)]" (quoted, without blanks)',
    )


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where results go and how processes are started."""
    parser.add_argument("--work-dir", help="folder of the results; ./work_dirs/CONFIG by default")
    parser.add_argument(
        "--launcher", choices=["none", "pytorch", "slurm", "mpi"], default="none",
        help="what has started the processes",
    )  # fmt: skip
    parser.add_argument(
        "--local_rank", "--local-rank", type=int, default=0,
        help="rank on this node, for launchers that pass it as an argument",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true",
        help="check config, data and files, then stop before anything is built",
    )  # fmt: skip
