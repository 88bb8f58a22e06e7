"""Necks: AM flow and its controls. The backbone calls them in every block."""

from amflow_mm.models.necks.amflow import AMFlow
from amflow_mm.models.necks.control_flows import FeatureFlow, ShuffledFlow, UniformFlow
from amflow_mm.models.necks.flow_neck import FlowNeck

__all__ = ["AMFlow", "FeatureFlow", "FlowNeck", "ShuffledFlow", "UniformFlow"]
