"""Runs are counted, and the peak of memory is what a sum by hand gives."""

import pytest
import torch

from amflow_mm.apis.model_benchmark.matrix_peak import MatrixProduct
from amflow_mm.apis.model_benchmark.measurement import measure_growth, measure_time
from amflow_mm.apis.model_benchmark.subject import Subject
from tests.apis.model_benchmark.tiny import CASE, CPU

KIB = 1024


class Noted(Subject):
    def __init__(self):
        super().__init__("noted", "component", {"forward": 1})
        self.calls = []

    def prepare(self, mode):
        self.calls.append(f"prepare {mode}")

    def run(self, mode):
        self.calls.append(mode)


def test_a_subject_is_prepared_once_and_run_at_least_once():
    subject = Noted()
    runs, seconds = measure_time(subject, "forward", CPU, seconds=0.0)
    assert runs == 1
    assert seconds > 0
    assert subject.calls == ["prepare forward", "forward"]


def test_short_runs_are_repeated():
    subject = Noted()
    runs, seconds = measure_time(subject, "forward", CPU, seconds=0.01)
    assert seconds >= 0.01
    assert runs == len(subject.calls) - 1 > 1


def test_peak_is_what_exists_at_once():
    def work():
        first = torch.empty(100 * KIB, dtype=torch.uint8)
        second = torch.empty(50 * KIB, dtype=torch.uint8)
        del first
        third = torch.empty(60 * KIB, dtype=torch.uint8)
        del second, third

    assert measure_growth(work, CPU) == 150 * KIB


def test_what_operators_allocate_inside_counts():
    x = torch.ones(256, 256)
    assert measure_growth(lambda: (x + x).sum(), CPU) >= 256 * KIB
    assert measure_growth(lambda: (x + x) + (x + x), CPU) == 3 * 256 * KIB


def test_what_was_there_before_does_not_count():
    x = torch.ones(256, 256)
    assert measure_growth(lambda: x.add_(1), CPU) < 1 * KIB


def test_product_of_matrices_counts_its_operations():
    product = MatrixProduct(8, CASE, CPU)
    assert product.macs == {"forward": 512}
    product.run("forward")
    assert product._product.abs().sum() > 0
    with pytest.raises(ValueError, match="mode='step' must be 'forward'"):
        product.run("step")
