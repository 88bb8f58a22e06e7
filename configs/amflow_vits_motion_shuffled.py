"""Control for amflow_vits_motion: the same flow, its patches shuffled in each frame.

Run:    python tools/train.py configs/amflow_vits_motion_shuffled.py
"""

from mmengine.config import read_base

with read_base():
    from .amflow_vits_motion import *

from amflow_mm.models import AMFlow, ShuffledFlow

model.neck = dict(type=ShuffledFlow, flow=dict(type=AMFlow, normalize="column"))
