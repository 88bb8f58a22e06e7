"""A video of a square that moves from patch to patch, and a model that looks at patches."""

import cv2
import numpy as np

PATCH = 14
GRID = (5, 7)
NUM_FRAMES = 13
FPS = 10.0

TINY_CONFIG = """
default_scope = "amflow_mm"
model = dict(
    type="AMFlowRecognizer",
    data_preprocessor=dict(
        type="ActionDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        format_shape="NCTHW",
    ),
    backbone=dict(
        type="AMFlowViT",
        variant=dict(embed_dim=24, depth=3, num_heads=2, mlp_dim=32, patch_size=14),
        family="dinov2",
        adapter=dict(type="TemporalAdapter", num_frames=2, unit=dict(type="TCNUnit")),
    ),
    neck=dict(type="AMFlow", normalize="column"),
    cls_head=dict(type="TemporalMeanHead", num_classes=2, in_channels=24),
)
"""


def square_column(index: int) -> int:
    """Column of the patch that the square covers: it moves by one patch every other frame."""
    return index // 2


def square_frames() -> np.ndarray:
    """A smooth texture, and a white square of one patch on the middle row."""
    height, width = GRID[0] * PATCH, GRID[1] * PATCH
    coarse = np.random.default_rng(0).integers(40, 160, (*GRID, 3)).astype(np.uint8)
    texture = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    frames = np.stack([texture] * NUM_FRAMES)
    for t in range(NUM_FRAMES):
        left = square_column(t) * PATCH
        frames[t, 2 * PATCH : 3 * PATCH, left : left + PATCH] = 255
    return frames
