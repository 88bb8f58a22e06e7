"""The flow written out is the formula: against loops, for every option."""

import numpy as np
import pytest
import torch

from amflow_mm.models.layers import affine_correspondence
from amflow_mm.models.layers.flow_written_out import written_out_flow
from amflow_mm.testing import fixed_tensor
from tests.reference import attention_flow as oracle

B, T, H, GRID, D = 2, 3, 3, (2, 3), 5
P = GRID[0] * GRID[1]


@pytest.mark.parametrize("moving", [False, True], ids=["static", "moving"])
@pytest.mark.parametrize("average_heads", ["before", "after"])
@pytest.mark.parametrize("normalize", ["softmax", "row", "column"])
@pytest.mark.parametrize("source", ["post", "pre"])
def test_equals_the_loops(source, normalize, average_heads, moving):
    shape = (B, T, H, P + 2, D)
    q, k = (fixed_tensor(shape, tag=tag, scale=1.3, dtype=torch.float64) for tag in "qk")
    theta = torch.eye(2, 3) + fixed_tensor((B, T - 1, 2, 3), tag="theta", scale=0.3)
    options = {
        "num_prefix_tokens": 2,
        "source": source,
        "normalize": normalize,
        "average_heads": average_heads,
        "correspondence": affine_correspondence(theta.double(), GRID) if moving else None,
    }
    found = written_out_flow(q, k, **options)
    expected = oracle.attention_map_flow(q, k, **options)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_a_single_frame_raises():
    q = torch.zeros(1, 1, H, P + 1, D)
    with pytest.raises(ValueError, match="num_frames=1 must be >= 2"):
        written_out_flow(q, q)
