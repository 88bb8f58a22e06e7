"""Control for amflow_vits_motion: a linear probe of the frozen model's mean frame vector.

Run:    python tools/train.py configs/probe_vits_motion.py
"""

from mmengine.config import read_base

with read_base():
    from .amflow_vits_motion import *

model.neck = None
model.backbone.update(output="frozen")
