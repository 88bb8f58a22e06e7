"""As adamw_30e, over 50 epochs."""

from mmengine.config import read_base

with read_base():
    from .adamw_30e import *

train_cfg.update(max_epochs=50)
param_scheduler[1].update(end=50)
