"""AM flow with alignment on motion clips whose camera pans, zooms or rolls.

Method: as amflow_vits_motion, the frame pairs registered by AffineAligner (no parameters).
Recipe: as amflow_vits_motion.
Cost:   281,608 trainable of 22,337,800 parameters; 11.6 GMACs a view of 8 frames of 112 x 112,
        11.6 a video of 1 view.
Expect: 80.6 % top-1 on the 160 validation clips (chance 12.5), 78.1 without the aligner: seed 0,
        once, on 2 CPUs.
Data:   python tools/data/make_motion_clips.py --out data/motion_moving --camera moving
Run:    python tools/train.py configs/amflow_vits_motion_moving_camera.py
"""

from mmengine.config import read_base

with read_base():
    from .amflow_vits_motion import *

from amflow_mm.models.layers import AffineAligner

data_help = "python tools/data/make_motion_clips.py --out data/motion_moving --camera moving"
classes_file = "data/motion_moving/classes.txt"
train_dataloader.dataset.dataset.update(
    ann_file="data/motion_moving/train.txt", data_prefix=dict(video="data/motion_moving")
)
val_dataloader.dataset.dataset.update(
    ann_file="data/motion_moving/val.txt", data_prefix=dict(video="data/motion_moving")
)
test_dataloader = val_dataloader
model.neck.update(aligner=dict(type=AffineAligner))
