"""Measure what models cost: forward pass, training step and memory, ours beside the peers'.

    python tools/analysis/benchmark.py                                      # ViT-B/16, this machine
    python tools/analysis/benchmark.py --variant ti16 --frames 8 16 32 --batch 1 2 4
    python tools/analysis/benchmark.py --dtype bf16 --models "AM Flow in_block, TCN" AIM
    python tools/analysis/benchmark.py --name cpu --document docs/performance.md   # record it
    python tools/analysis/benchmark.py --document docs/performance.md --check

Ratios and targets are about the first value of --frames, --resolution, --batch and --dtype; each
further one is measured with the first of the others. Subjects take turns, so that a busy machine
disturbs all alike; leave it alone nevertheless.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from amflow_mm.apis.model_benchmark import (
    BenchmarkOptions,
    benchmark_models,
    cases_around_first,
    draw_chart,
    model_names,
    print_run,
)
from amflow_mm.apis.model_benchmark.document import chart_path, record_path, updated_page
from amflow_mm.engine.errors import UserError, one_line_errors
from amflow_mm.engine.reproducibility import write_json
from amflow_mm.models.backbones.vit_layouts import parse_variant


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Measure what models cost.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    what = parser.add_argument_group("models and clips")
    what.add_argument("--variant", default="b16", help="size and patch side, such as b16 or ti16")
    what.add_argument("--models", nargs="+", default=model_names(), metavar="NAME", help="which")
    what.add_argument("--no-components", action="store_true", help="no AM flow on its own")
    what.add_argument("--frames", type=int, nargs="+", default=[8], help="of a clip")
    what.add_argument("--resolution", type=int, nargs="+", default=[224], help="side, in pixels")
    what.add_argument("--batch", type=int, nargs="+", default=[1], help="clips at once")
    what.add_argument("--dtype", nargs="+", default=["fp32"], choices=("fp32", "bf16"))
    how = parser.add_argument_group("measuring")
    how.add_argument("--repetitions", type=int, default=5)
    how.add_argument("--seconds", type=float, default=0.3, help="of one measurement, at least")
    how.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    how.add_argument("--compile", action="store_true", help="compile our blocks; minutes at first")
    output = parser.add_argument_group("results")
    output.add_argument("--json", type=Path, metavar="FILE", help="write the record")
    output.add_argument("--chart", type=Path, metavar="FILE", help="draw the record")
    output.add_argument("--document", type=Path, metavar="FILE", help="rewrite its tables")
    output.add_argument("--name", help="of the record in the docs; the device's by default")
    output.add_argument("--preliminary", action="store_true", help="mark the record as such")
    output.add_argument("--from", dest="recorded", type=Path, metavar="FILE", help="do not measure")
    output.add_argument("--check", action="store_true", help="fail if --document is outdated")
    args = parser.parse_args()
    if args.check and not args.document:
        parser.error("--check needs --document")
    if args.document:
        name = args.name or (args.recorded.stem if args.recorded else args.device)
        args.json = args.json or record_path(args.document, name)
        args.chart = args.chart or chart_path(args.document, name)
    return args


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Measure what the command line asks for and return the record."""
    try:
        parse_variant(args.variant)
        cases = cases_around_first(args.frames, args.resolution, args.batch, args.dtype)
        options = BenchmarkOptions(
            variant=args.variant,
            models=tuple(args.models),
            has_components=not args.no_components,
            repetitions=args.repetitions,
            seconds=args.seconds,
            device=args.device,
            is_compiled=args.compile,
        )
    except ValueError as error:
        raise UserError(str(error)) from error
    return benchmark_models(cases, options, is_preliminary=args.preliminary)


def check(page: Path) -> None:
    """Exit with a message if a page does not show what is recorded."""
    if updated_page(page) != page.read_text(encoding="utf-8"):
        sys.exit(f"{page} is outdated; run this without --check, with --from")


def main() -> None:
    """Measure or read a record, and print, write and draw it."""
    args = parse_args()
    with one_line_errors():
        if args.check:
            check(args.document)
            return
        if args.recorded:
            run = json.loads(args.recorded.read_text(encoding="utf-8"))
        else:
            run = measure(args)
        if args.json:
            write_json(args.json, run)
        if args.chart:
            args.chart.parent.mkdir(parents=True, exist_ok=True)
            draw_chart(run, args.chart)
        if args.document:
            args.document.write_text(updated_page(args.document), encoding="utf-8")
    print(print_run(run))


if __name__ == "__main__":
    main()
