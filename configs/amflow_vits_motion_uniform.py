"""Control for amflow_vits_motion: the same model with w = 1 everywhere.

Run:    python tools/train.py configs/amflow_vits_motion_uniform.py
"""

from mmengine.config import read_base

with read_base():
    from .amflow_vits_motion import *

from amflow_mm.models import UniformFlow

model.neck = dict(type=UniformFlow)
