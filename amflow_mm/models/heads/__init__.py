"""Heads."""

from amflow_mm.models.heads.temporal_mean_head import TemporalMeanHead

__all__ = ["TemporalMeanHead"]
