"""Fixtures for every test."""

import jaxtyping
import pytest
import torch

# Sums come in another order where threads share them, which shapes decide: to the bit holds of one.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _deterministic_and_isolated():
    """Seed torch, and keep what a test sets globally in MMEngine from reaching the next one."""
    from mmengine.registry import DefaultScope

    torch.manual_seed(0)
    scopes = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(scopes)


@pytest.fixture
def own_checks_only():
    """Switch the signature checks of the test run off, to meet the errors that users see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
