"""What is measured around the first case."""

import pytest
import torch

from amflow_mm.apis.model_benchmark.case import Case, cases_around_first
from tests.apis.model_benchmark.tiny import CPU


def test_each_further_value_stands_with_the_first_of_the_others():
    cases = cases_around_first([8, 16], [224, 336], [1, 4], ["fp32", "bf16"])
    assert cases == [
        Case(8, 224, 1, "fp32"),
        Case(16, 224, 1, "fp32"),
        Case(8, 336, 1, "fp32"),
        Case(8, 224, 4, "fp32"),
        Case(8, 224, 1, "bf16"),
    ]


def test_a_case_is_named_once():
    assert cases_around_first([8, 8], [224], [1], ["fp32"]) == [Case(8, 224, 1, "fp32")]


def test_differences_are_told_in_words():
    first = Case(8, 224, 1, "fp32")
    assert Case(16, 224, 2, "fp32").differences(first) == "16 frames, 2 at once"
    assert Case(8, 336, 1, "bf16").differences(first) == "336 x 336, bf16"
    assert first.differences(first) == ""


@pytest.mark.parametrize(("dtype", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_is_that_of_training(dtype, expected):
    x = torch.ones(2, 2)
    with Case(8, 224, 1, dtype).autocast(CPU):
        assert (x @ x).dtype == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1, 224, 1, "fp32"), "frames=1 must be >= 2"),
        ((8, 0, 1, "fp32"), "resolution=0 must be >= 1"),
        ((8, 224, 0, "fp32"), "batch_size=0 must be >= 1"),
        ((8, 224, 1, "fp8"), "dtype='fp8' must be one of"),
    ],
)
def test_impossible_cases_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Case(*values)
