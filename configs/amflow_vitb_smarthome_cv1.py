"""AM Flow, ViT-B/16 (CLIP, frozen), 8 frames, static camera, Toyota Smarthome, cross-view 1.

Method: flow and temporal adapter with TCN in all 12 blocks.
Recipe: as amflow_vitb_smarthome_cs, with the 19 classes and the lists of CV1.
Cost:   4,098,835 trainable of 89,896,723 parameters; 148.9 GMACs a view of 8 frames of 224 x 224,
        446.8 a video of 3 views.
Expect: not run yet.
Needs:  data (docs/data.md), image weights fetched on first use (docs/weights.md).
Run:    tools/dist_train.sh configs/amflow_vitb_smarthome_cv1.py 8
"""

from mmengine.config import read_base

with read_base():
    from .amflow_vitb_smarthome_cs import *

model.cls_head.update(num_classes=19)
train_dataloader.dataset.update(ann_file="data/smarthome/cv1_train.txt")
val_dataloader.dataset.update(ann_file="data/smarthome/cv_val.txt")
test_dataloader.dataset.update(ann_file="data/smarthome/cv_test.txt")
