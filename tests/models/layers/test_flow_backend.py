"""Who computes the flow: refusals by name, and torch wherever the kernel cannot serve."""

import pytest
import torch

from amflow_mm.models.layers import attention_map_flow
from amflow_mm.models.layers import flow_backend as module
from amflow_mm.models.layers.flow_backend import runs_on_triton
from amflow_mm.testing import fixed_tensor


def make_qk(num_tokens=10, head_dim=16, dtype=torch.float32):
    shape = (1, 2, 3, num_tokens, head_dim)
    return fixed_tensor(shape, tag="q").to(dtype), fixed_tensor(shape, tag="k").to(dtype)


def ask(backend, q, k, correspondence=None, average_heads="before"):
    return runs_on_triton(backend, q, k, correspondence=correspondence, average_heads=average_heads)


@pytest.fixture
def _device_fits(monkeypatch):
    monkeypatch.setattr(module, "_device_obstacle", lambda q: None)


def test_on_a_cpu_torch_computes():
    q, k = make_qk()
    assert not ask("auto", q, k)
    assert not ask("torch", q, k)
    torch.testing.assert_close(
        attention_map_flow(q, k), attention_map_flow(q, k, backend="torch"), rtol=0, atol=0
    )
    with pytest.raises(ValueError, match="'triton' cannot compute this call: q is on 'cpu'"):
        attention_map_flow(q, k, backend="triton")


@pytest.mark.usefixtures("own_checks_only")
def test_an_unknown_backend_raises():
    with pytest.raises(ValueError, match="backend='cuda' must be one of 'auto', 'torch', 'triton'"):
        attention_map_flow(*make_qk(), backend="cuda")


@pytest.mark.usefixtures("_device_fits")
@pytest.mark.parametrize("dtype", module.DTYPES)
def test_a_device_that_fits_gets_the_kernel_unless_told_otherwise(dtype):
    q, k = make_qk(dtype=dtype)
    assert ask("auto", q, k)
    assert ask("triton", q, k)
    assert not ask("torch", q, k)


@pytest.mark.usefixtures("_device_fits")
@pytest.mark.parametrize(
    ("inputs", "options", "reason"),
    [
        (make_qk(513), {}, "q has 513 tokens of width 16, not at most 512"),
        (make_qk(head_dim=48), {}, "q has 10 tokens of width 48"),
        (make_qk(dtype=torch.float64), {}, "q is torch.float64"),
        (make_qk(), {"average_heads": "after"}, "average_heads='after' is not 'before'"),
        (make_qk(), {"correspondence": torch.eye(9)[None, None]}, "correspondence is given"),
        ([x.mT.contiguous().mT for x in make_qk()], {}, "the last axis of q or k is not"),
    ],
)
def test_what_the_kernel_cannot_do_goes_to_torch(inputs, options, reason):
    assert not ask("auto", *inputs, **options)
    with pytest.raises(ValueError, match=f"backend='triton' cannot compute this call: {reason}"):
        ask("triton", *inputs, **options)
