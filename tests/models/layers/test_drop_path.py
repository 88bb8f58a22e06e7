"""Stochastic depth."""

import pytest
import torch

from amflow_mm.models.layers import DropPath


def test_nothing_is_dropped_in_evaluation_or_with_probability_zero():
    x = torch.ones(5, 3, 2)
    assert DropPath(0.5).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def test_whole_clips_are_dropped_and_the_mean_is_kept():
    x = torch.ones(4000, 3, 2)
    out = DropPath(0.25).train()(x)
    per_clip = out.flatten(1)
    assert torch.equal(per_clip.amin(dim=1), per_clip.amax(dim=1))
    torch.testing.assert_close(out.unique(), torch.tensor([0.0, 1 / 0.75]))
    assert abs(out.mean().item() - 1) < 0.05


@pytest.mark.parametrize("drop_prob", [-0.1, 1.0])
def test_a_probability_outside_the_range_raises(drop_prob):
    with pytest.raises(ValueError, match=rf"drop_prob={drop_prob} must lie in \[0, 1\)"):
        DropPath(drop_prob)
