"""Fill the clip cache of a config ahead of time, look into it, check it, clean it up.

    python tools/data/clip_cache.py fill CONFIG --folder data/cache/clips --workers 8
    python tools/data/clip_cache.py info data/cache/clips
    python tools/data/clip_cache.py verify data/cache/clips
    python tools/data/clip_cache.py prune data/cache/clips CONFIG

`fill` does what a first epoch would, and may be broken off and started again. `prune` removes all
clips that the given configs do not ask for. docs/clip_cache.md tells more.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # of command_line.py
from command_line import add_config_arguments
from mmengine.config import Config
from mmengine.registry import init_default_scope

from amflow_mm.datasets.clip_cache import filling, maintenance
from amflow_mm.engine.config_check import check_config
from amflow_mm.engine.config_layout import DATALOADERS
from amflow_mm.engine.errors import UserError, one_line_errors
from amflow_mm.engine.launch import load_config
from amflow_mm.registry import DATASETS

SHOWN_FAILURES = 20


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Fill, show, check and clean up a clip cache.")
    commands = parser.add_subparsers(dest="command", required=True)
    fill = commands.add_parser("fill", help="decode and store the clips of a config")
    add_config_arguments(fill)
    fill.add_argument("--folder", help="the cache, where the config does not name it")
    fill.add_argument(
        "--loader", nargs="+", choices=DATALOADERS, default=["train_dataloader"],
        help="loaders whose clips are stored",
    )  # fmt: skip
    fill.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    fill.add_argument("--timeout", type=float, default=300, help="seconds that a clip may take")
    fill.add_argument("--rank", type=int, default=0, help="number of this machine, from 0")
    fill.add_argument("--world-size", type=int, default=1, help="machines that share the work")
    fill.set_defaults(run=run_fill)
    for name, run, text in (
        ("info", run_info, "tell what a cache holds"),
        ("verify", run_verify, "compare the checksums of all clips; exit status 1 on damage"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("folder", type=Path)
        command.set_defaults(run=run)
    prune = commands.add_parser("prune", help="remove the clips that no config asks for")
    prune.add_argument("folder", type=Path)
    prune.add_argument("configs", nargs="+", metavar="CONFIG")
    prune.set_defaults(run=run_prune)
    return parser.parse_args()


def find_parts(
    cfg: Config, loaders: Sequence[str], folder: str | None
) -> list[filling.CachedDataset]:
    """Build the data sets of some loaders and return those with a CachedClip.

    Args:
        cfg: Whole config.
        loaders: Names such as ``train_dataloader``.
        folder: The cache; None leaves it to the config.
    """
    check_config(cfg)
    init_default_scope(cfg.default_scope)
    configs = [cfg[name].dataset for name in loaders if cfg.get(name)]
    if folder is not None:
        configs = [filling.with_folder(config, folder) for config in configs]
    return [part for config in configs for part in filling.find_cached(DATASETS.build(config))]


def run_fill(args: argparse.Namespace) -> int:
    """Store clips."""
    cfg = load_config(args.config, args.cfg_options)
    parts = find_parts(cfg, args.loader, args.folder)
    if not parts:
        raise UserError(f"{args.config}: no pipeline of {', '.join(args.loader)} has a CachedClip")
    if any(part.step.store is None for part in parts):
        raise UserError(f"{args.config} names no folder for its CachedClip; give --folder")
    report = filling.fill_cache(
        parts,
        num_processes=args.workers,
        timeout=args.timeout,
        rank=args.rank,
        world_size=args.world_size,
        announce=lambda text: print(text, file=sys.stderr),
    )
    counts = report.counts
    print(
        f"{counts['stored']} clips stored, {counts['present']} were there, "
        f"{len(report.failures) + counts['given up']} failed; {report.num_bytes / 1e9:.2f} GB"
    )
    for path, reason in report.failures[:SHOWN_FAILURES]:
        print(f"  {path}: {reason}")
    if len(report.failures) > SHOWN_FAILURES:
        print(f"  and {len(report.failures) - SHOWN_FAILURES} more")
    if report.is_full:
        print("the cache takes no more; the remaining clips are decoded at each visit")
    return 1 if report.failures or report.is_full else 0


def run_info(args: argparse.Namespace) -> int:
    """Print what a cache holds."""
    found = maintenance.survey(args.folder)
    use = "in use" if found.is_in_use else "not in use"
    print(
        f"{args.folder}: {found.clips} clips, {found.num_bytes / 1e9:.3f} GB in {found.shards} "
        f"shards, {found.duplicates} duplicates, {use}"
    )
    for number, share in found.recipes.items():
        size = share.num_bytes / share.clips / 1e3
        print(f"  {number:016x}: {share.clips} clips of {size:.0f} kB; {share.summary()}")
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Check a cache."""
    counts = maintenance.verify(args.folder)
    print(f"{counts['sound']} clips are sound, {counts['damaged']} damaged")
    if counts["damaged"]:
        print("damaged clips are decoded and stored anew when they are asked for")
    return 1 if counts["damaged"] else 0


def run_prune(args: argparse.Namespace) -> int:
    """Clean a cache up."""
    maintenance.require_cache(args.folder)
    wanted = set()
    for path in args.configs:
        parts = find_parts(load_config(path), DATALOADERS, str(args.folder))
        if not parts:
            raise UserError(f"{path}: no pipeline has a CachedClip; nothing would be kept for it")
        wanted |= filling.wanted_keys(parts)
    counts = maintenance.prune(args.folder, wanted)
    print(
        f"{counts['kept']} clips kept; removed: {counts['stale']} stale, {counts['damaged']} "
        f"damaged, {counts['duplicate']} duplicate; {counts['freed'] / 1e9:.3f} GB freed"
    )
    return 0


def main() -> None:
    """Run a command."""
    args = parse_args()
    with one_line_errors():
        code = args.run(args)
    sys.exit(code)


if __name__ == "__main__":
    main()
