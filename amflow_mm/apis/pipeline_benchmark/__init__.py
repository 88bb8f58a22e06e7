"""How fast clips come out of a pipeline: MMAction2's own beside ours, stage by stage."""

from amflow_mm.apis.pipeline_benchmark.benchmark import BenchmarkOptions, run_benchmark
from amflow_mm.apis.pipeline_benchmark.chart import draw_chart
from amflow_mm.apis.pipeline_benchmark.generated_videos import VideoShape, generate_videos
from amflow_mm.apis.pipeline_benchmark.report import print_run, run_as_markdown
from amflow_mm.apis.pipeline_benchmark.run_record import benchmark_pipelines
from amflow_mm.apis.pipeline_benchmark.subjects import (
    PREPARATIONS,
    Choice,
    working_backends,
)
from amflow_mm.apis.pipeline_benchmark.video_set import VideoSet, read_video_list

__all__ = [
    "PREPARATIONS",
    "BenchmarkOptions",
    "Choice",
    "VideoSet",
    "VideoShape",
    "benchmark_pipelines",
    "draw_chart",
    "generate_videos",
    "print_run",
    "read_video_list",
    "run_as_markdown",
    "run_benchmark",
    "working_backends",
]
