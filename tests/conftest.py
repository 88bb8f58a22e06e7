"""Fixtures for every test."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _deterministic_and_isolated():
    """Seed torch, and keep what a test sets globally in MMEngine from reaching the next one."""
    from mmengine.registry import DefaultScope

    torch.manual_seed(0)
    scopes = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(scopes)
