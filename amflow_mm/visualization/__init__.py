"""Pictures: AM flow on frames, contact sheets, confusion matrices."""

from amflow_mm.visualization.confusion_matrix import draw_confusion_matrix
from amflow_mm.visualization.contact_sheet import SheetRow, contact_sheet
from amflow_mm.visualization.flow_overlay import FlowScale, clip_scale, colour_bar, overlay_flow

__all__ = [
    "FlowScale",
    "SheetRow",
    "clip_scale",
    "colour_bar",
    "contact_sheet",
    "draw_confusion_matrix",
    "overlay_flow",
]
