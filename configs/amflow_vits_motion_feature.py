"""Control for amflow_vits_motion: the change of the frozen token in place of AM flow.

Run:    python tools/train.py configs/amflow_vits_motion_feature.py
"""

from mmengine.config import read_base

with read_base():
    from .amflow_vits_motion import *

from amflow_mm.models import FeatureFlow

model.neck = dict(type=FeatureFlow)
