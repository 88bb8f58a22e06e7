"""Metrics."""

from amflow_mm.engine.metrics.video_accuracy import VideoAccuracy

__all__ = ["VideoAccuracy"]
