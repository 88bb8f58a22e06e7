"""AdamW, cosine with 2.5 epochs of warm-up, 30 epochs; bfloat16 where there is a GPU."""

from mmengine.optim import CosineAnnealingLR, LinearLR
from mmengine.runner import EpochBasedTrainLoop, TestLoop, ValLoop
from torch.optim import AdamW

from amflow_mm.engine.optim import AutocastOptimWrapper, TrainableOptimWrapperConstructor

train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=30, val_begin=1, val_interval=1)
val_cfg = dict(type=ValLoop)
test_cfg = dict(type=TestLoop)

# Norms, biases and embeddings take no decay, and what is frozen is left out.
optim_wrapper = dict(
    type=AutocastOptimWrapper,
    optimizer=dict(type=AdamW, lr=3e-4, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=20),
    constructor=TrainableOptimWrapperConstructor,
)
# The cosine spans what is left of the epochs; to change them, change `end` and max_epochs.
param_scheduler = [
    dict(type=LinearLR, start_factor=0.01, by_epoch=True, end=2.5, convert_to_iter_based=True),
    dict(
        type=CosineAnnealingLR,
        eta_min=3e-6,
        by_epoch=True,
        begin=2.5,
        end=30,
        convert_to_iter_based=True,
    ),
]
# The learning rate above is for 64 clips a step; --auto-scale-lr adapts it.
auto_scale_lr = dict(enable=False, base_batch_size=64)
