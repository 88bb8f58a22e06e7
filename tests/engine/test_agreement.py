"""One process alone agrees with itself; ``hooks`` are tested with two."""

import pytest
import torch

from amflow_mm.engine.agreement import start_vote


@pytest.mark.parametrize("is_raised", [False, True])
def test_one_process_alone(is_raised):
    flag = torch.tensor(is_raised)
    count = start_vote(flag)
    flag.logical_not_()
    assert count() is is_raised


@pytest.mark.gpu
@pytest.mark.parametrize("is_raised", [False, True])
def test_on_a_gpu(is_raised):
    count = start_vote(torch.tensor(is_raised, device="cuda"))
    assert count() is is_raised
