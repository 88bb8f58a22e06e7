"""AM flow on its own equals its formula; aligners are run and trained."""

import pytest
import torch

from amflow_mm.apis.model_benchmark.case import Case
from amflow_mm.apis.model_benchmark.components import (
    OURS,
    WRITTEN_OUT,
    block_output,
    build_components,
)
from tests.apis.model_benchmark.tiny import CASE, CPU, VARIANT

P, N, C, T, B = 4, 5, 48, 3, 2


@pytest.fixture(scope="module")
def components():
    torch.manual_seed(0)
    return {subject.name: subject for subject in build_components(VARIANT, CASE, CPU)}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_ours_equals_the_maps_written_out(dtype):
    case = Case(CASE.frames, 32, CASE.batch_size, dtype)
    both = {s.name: s for s in build_components(VARIANT, case, CPU)}
    w = both[OURS].result()
    assert w.shape == (B, T, 16)
    assert w.std() > 0
    torch.testing.assert_close(w, both[WRITTEN_OUT].result(), rtol=1e-4, atol=1e-5)


def test_what_a_block_hands_over():
    given = block_output(VARIANT, CASE, CPU)
    assert given.q.shape == given.k.shape == (B, T, 3, N, C // 3)
    assert given.x.shape == (B, T, N, C)
    assert given.grid == (2, 2)
    assert given.patches.shape == (B, T, P, C)


def test_operations_are_those_of_the_maps(components):
    assert components[WRITTEN_OUT].macs == {"forward": B * T * N * N * C}
    assert components[OURS].macs == {"forward": B * T * P * N * C}  # rows of the patches alone


def test_each_aligner_stands_alone_and_with_the_flow(components):
    for name in ("affine encoder", "window encoder", "dense encoder", "closed-form affine"):
        alone, with_flow = components[f"aligner: {name}"], components[f"AM flow with {name}"]
        assert alone.result().shape[:3] == (B, T - 1, P)
        assert with_flow.result().shape == (B, T, P)
        assert with_flow.macs["forward"] > alone.macs["forward"] > 0


def test_encoders_train_and_the_rest_does_not(components):
    training = {name for name, subject in components.items() if "step" in subject.macs}
    assert len(training) == 6
    assert all(name.endswith("encoder") for name in training)
    for name in training:
        components[name].run("step")
        assert components[name].macs["step"] > components[name].macs["forward"]
