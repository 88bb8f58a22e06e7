"""Rewrite the tables of results in README.md from the reports in docs/results.

    python tools/misc/update_results.py
    python tools/misc/update_results.py --check

A report is what `make demo` leaves as work_dirs/demo/report.json, copied to docs/results/NAME.json.
Runs that differ in the seed alone become NAME_seed0.json, NAME_seed1.json ... and one table of
means. A key `title` added to a report is printed above its table in place of NAME.
"""

import argparse
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
EMPTY = "No results recorded yet."
ROOT = Path(__file__).resolve().parents[2]

Reports = dict[Path, dict[str, Any]]


def read_reports(folder: Path) -> dict[str, Reports]:
    """Return the reports of each experiment, by file."""
    experiments: dict[str, Reports] = {}
    for path in sorted(folder.glob("*.json")):
        reports = experiments.setdefault(re.sub(r"_seed\d+$", "", path.stem), {})
        reports[path] = json.loads(path.read_text(encoding="utf-8"))
    return experiments


def format_mean(values: list[float], digits: int) -> str:
    """Return the value, or mean and sample standard deviation of several."""
    mean = f"{statistics.mean(values):,.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def format_experiment(name: str, reports: Reports) -> str:
    """Return heading, table and provenance of one experiment, over its seeds."""
    seeds = [report["seed"] for report in reports.values()]
    models = {tuple((r["config"], r["trainable"]) for r in v["rows"]) for v in reports.values()}
    if len(set(seeds)) < len(seeds) or len(models) > 1:
        raise ValueError(f"{', '.join(p.name for p in reports)} differ in more than their seeds")
    first = next(iter(reports.values()))
    header = "| model | top-1, % | trained parameters | seconds |\n|---|---|---|---|"
    lines = [f"**{first.get('title', name)}**", "", header]
    for rows in zip(*(report["rows"] for report in reports.values()), strict=True):
        model = f"[{rows[0]['title']}](configs/{rows[0]['config']}.py)"
        top1 = format_mean([100 * row["top1"] for row in rows], 1)
        seconds = format_mean([row["seconds"] for row in rows], 0)
        lines.append(f"| {model} | {top1} | {rows[0]['trainable']:,} | {seconds} |")
    places = {describe_place(report) for report in reports.values()}
    records = ", ".join(f"[{path.name}](docs/results/{path.name})" for path in reports)
    listed = ", ".join(map(str, seeds))
    runs = f"Seeds {listed}; mean ± standard deviation" if len(seeds) > 1 else f"Seed {listed}"
    lines += ["", f"{runs}. {' / '.join(sorted(places))}. Full record: {records}."]
    return "\n".join(lines)


def describe_place(report: dict[str, Any]) -> str:
    """Return machine and versions of a report in one line."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return f"{machine['cpus']} CPUs, {', '.join(machine['gpus']) or 'no GPU'}; {versions}"


def update(text: str, tables: str) -> str:
    """Return the document with the part between the markers replaced."""
    match = re.fullmatch(f"(.*{BEGIN}\n)(.*)({END}.*)", text, re.DOTALL)
    if match is None or text.count(BEGIN) + text.count(END) != 2:
        raise ValueError(f"the document must hold a line {BEGIN} and a line {END}, once each")
    return f"{match[1]}\n{tables}\n\n{match[3]}"


def main() -> None:
    """Rewrite the document, or tell whether it is up to date."""
    parser = argparse.ArgumentParser(description="Rewrite README's tables of results.")
    parser.add_argument("--results", type=Path, default=ROOT / "docs" / "results")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--check", action="store_true", help="change nothing; fail if outdated")
    args = parser.parse_args()
    text = args.readme.read_text(encoding="utf-8")
    try:
        experiments = read_reports(args.results)
        tables = "\n\n".join(format_experiment(*item) for item in experiments.items())
        updated = update(text, tables or EMPTY)
    except (KeyError, ValueError) as error:
        sys.exit(f"update_results: {error!r}")
    if args.check and updated != text:
        sys.exit(f"{args.readme} is outdated; run: python tools/misc/update_results.py")
    if not args.check:
        args.readme.write_text(updated, encoding="utf-8")


if __name__ == "__main__":
    main()
