"""Sizes are written with three digits."""

import pytest

from amflow_mm.engine.feature_budget import describe_bytes


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.00 kB"),
        (1_230_000, "1.23 MB"),
        (12.34e9, "12.3 GB"),
        (123.4e9, "123 GB"),
        (999.6e9, "1.00 TB"),
        (2.31e12, "2.31 TB"),
        (5e15, "5000 TB"),
    ],
)
def test_bytes_have_three_digits(number, text):
    assert describe_bytes(number) == text
