"""Functions for users: whole tasks in one call."""

from amflow_mm.apis.flow_pictures import FlowPictures, write_flow_pictures
from amflow_mm.apis.flow_video import VideoFlow, flow_of_video
from amflow_mm.apis.frozen_flow import FrozenFlow, build_frozen_flow

__all__ = [
    "FlowPictures",
    "FrozenFlow",
    "VideoFlow",
    "build_frozen_flow",
    "flow_of_video",
    "write_flow_pictures",
]
