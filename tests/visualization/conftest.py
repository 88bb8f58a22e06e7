"""Fixtures for the tests of the pictures."""

import jaxtyping
import pytest


@pytest.fixture
def own_checks_only():
    """Switch the signature checks of the test run off, to meet the errors that users see."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
