"""Full precision inside a mixed-precision region."""

import torch

from amflow_mm.models.layers import full_precision


def test_products_keep_single_precision_inside_autocast():
    a = torch.full((2, 2), 1.001)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with full_precision(a.device):
            assert (a @ a).dtype == torch.float32
        assert (a @ a).dtype == torch.bfloat16


def test_a_device_without_autocast_is_left_alone():
    with full_precision(torch.device("meta")):
        assert torch.ones(2, 2, device="meta").matmul(torch.ones(2, 1, device="meta")).shape == (
            2,
            1,
        )
