"""What models cost: forward pass, training step and memory, ours beside the peers'."""

from amflow_mm.apis.model_benchmark.benchmark import BenchmarkOptions, benchmark_models
from amflow_mm.apis.model_benchmark.case import Case, cases_around_first
from amflow_mm.apis.model_benchmark.chart import draw_chart
from amflow_mm.apis.model_benchmark.recipes import model_names
from amflow_mm.apis.model_benchmark.report import print_run, run_as_markdown

__all__ = [
    "BenchmarkOptions",
    "Case",
    "benchmark_models",
    "cases_around_first",
    "draw_chart",
    "model_names",
    "print_run",
    "run_as_markdown",
]
