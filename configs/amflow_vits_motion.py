"""AM Flow beside the embedded ViT-S/14 on generated motion clips: the quick start.

Method: side ladder on frozen blocks 2, 5, 8, 11; one vector a frame, made of the motion-weighted
        tokens and the coarse map of the flow; temporal convolutions. The frozen model sees each
        clip once; its tokens are kept in data/cache (1.6 MB a clip) and training reads those.
Recipe: AdamW 2e-3, batch 16, 18 epochs, validated after 6, 12 and 18.
Cost:   281,608 trainable of 22,337,800 parameters; 11.5 GMACs a view of 8 frames of 112 x 112,
        11.5 a video of 1 view.
Expect: 90 % and more on the validation clips; see Results in README.md.
Needs:  data (next line); the image weights come from the package index on first use.
Data:   python tools/data/make_motion_clips.py --out data/motion
Run:    python tools/train.py configs/amflow_vits_motion.py
"""

from mmengine.config import read_base

with read_base():
    from ._base_.datasets.motion import *
    from ._base_.default_runtime import *
    from ._base_.models.side_vits import *
    from ._base_.schedules.adamw_30e import *

from amflow_mm.engine.hooks import FrozenFeatureHook

train_cfg.update(max_epochs=18, val_interval=6)
optim_wrapper.update(optimizer=dict(lr=2e-3))
param_scheduler[0].update(end=3)
param_scheduler[1].update(begin=3, end=18, T_max=15, eta_min=1e-5)
default_hooks.checkpoint.update(interval=6, max_keep_ckpts=1)
custom_hooks.append(dict(type=FrozenFeatureHook, batch_size=8, num_workers=1))
