"""Errors of the lowest level."""

import pytest

from amflow_mm.errors import UserError, WeightsError


@pytest.mark.parametrize("family", [UserError, ValueError])
def test_weights_errors_are_the_users_and_about_a_value(family):
    with pytest.raises(family, match="no such weights"):
        raise WeightsError("no such weights")
